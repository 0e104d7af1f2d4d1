//! Order entry, after TPC-C (revision 5.11): its new-order and payment transactions, on tables of
//! numbers. Names of tables and columns are those of the specification.

use crate::numbers::Numbers;
use crate::sql::{Sql, SqlError};
use crate::steps::same;
use crate::transaction::Transaction;

/// Of each warehouse (1.2.1).
const DISTRICTS: u32 = 10;
/// Fewer than the specification has, 3000 and 100 000: filling takes part in every run.
const CUSTOMERS: u32 = 300;
const ITEMS: u32 = 10_000;
/// Lines of an order (2.4.1.3).
const LINES: (u32, u32) = (5, 15);

/// One transaction; it stays the same when it has to run again.
#[derive(Debug, Clone)]
enum Operation {
    NewOrder {
        district: i64,
        customer: i64,
        /// Item and quantity.
        lines: Vec<(i64, i64)>,
    },
    Payment {
        district: i64,
        customer: i64,
        amount: i64,
    },
}

/// What one client does.
pub(crate) struct Orders {
    warehouses: u32,
    pending: Option<Operation>,
}

impl Orders {
    pub(crate) fn new(warehouses: u32) -> Self {
        Self {
            warehouses,
            pending: None,
        }
    }

    /// Does one transaction; returns 1 for a new order.
    pub(crate) fn operate(
        &mut self,
        sql: &mut dyn Sql,
        numbers: &mut Numbers,
        transaction: Transaction,
    ) -> Result<u64, SqlError> {
        let operation = match self.pending.take() {
            Some(operation) => operation,
            None => choose(self.warehouses, numbers),
        };
        let done = run(sql, &operation, transaction);
        if done.is_err() {
            self.pending = Some(operation);
        }
        done
    }
}

fn choose(warehouses: u32, numbers: &mut Numbers) -> Operation {
    let district = i64::from(numbers.below(warehouses * DISTRICTS)) + 1;
    let customer = (district - 1) * i64::from(CUSTOMERS) + i64::from(numbers.below(CUSTOMERS)) + 1;
    if numbers.below(2) == 0 {
        return Operation::Payment {
            district,
            customer,
            amount: i64::from(numbers.below(500_000)) + 100,
        };
    }
    let count = LINES.0 + numbers.below(LINES.1 - LINES.0 + 1);
    let line = |_| {
        let item = i64::from(numbers.below(ITEMS)) + 1;
        (item, i64::from(numbers.below(10)) + 1)
    };
    Operation::NewOrder {
        district,
        customer,
        lines: (0..count).map(line).collect(),
    }
}

fn run(
    sql: &mut dyn Sql,
    operation: &Operation,
    transaction: Transaction,
) -> Result<u64, SqlError> {
    sql.run(transaction.begin(), &[])?;
    let done = match operation {
        Operation::NewOrder {
            district,
            customer,
            lines,
        } => new_order(sql, *district, *customer, lines)?,
        Operation::Payment {
            district,
            customer,
            amount,
        } => payment(sql, *district, *customer, *amount)?,
    };
    sql.run("COMMIT", &[])?;
    Ok(done)
}

/// The warehouse of a district.
fn warehouse(district: i64) -> i64 {
    (district - 1) / i64::from(DISTRICTS) + 1
}

/// The new-order transaction (2.4).
fn new_order(
    sql: &mut dyn Sql,
    district: i64,
    customer: i64,
    lines: &[(i64, i64)],
) -> Result<u64, SqlError> {
    let warehouse = warehouse(district);
    let mut number = |query: &str, values: &[i64]| {
        let found = sql.run(query, values)?;
        found.ok_or_else(|| SqlError::wrong(format!("no row: {query}")))
    };
    number("SELECT w_tax FROM warehouse WHERE w_id = ?1", &[warehouse])?;
    number(
        "SELECT c_discount FROM customer WHERE c_id = ?1",
        &[customer],
    )?;
    let order = number(
        "SELECT d_next_o_id FROM district WHERE d_id = ?1",
        &[district],
    )?;
    sql.run(
        "UPDATE district SET d_next_o_id = ?2 WHERE d_id = ?1",
        &[district, order + 1],
    )?;
    let count = i64::try_from(lines.len()).unwrap_or_default();
    sql.run(
        "INSERT INTO orders VALUES (?1, ?2, ?3, ?4)",
        &[district, order, customer, count],
    )?;
    for (line, (item, quantity)) in (1..).zip(lines) {
        let place = [district, order, line];
        order_line(sql, place, warehouse, *item, *quantity)?;
    }
    Ok(1)
}

/// One line of an order: takes the quantity from the stock, which is filled up when it gets low.
fn order_line(
    sql: &mut dyn Sql,
    [district, order, line]: [i64; 3],
    warehouse: i64,
    item: i64,
    quantity: i64,
) -> Result<(), SqlError> {
    let price = sql.run("SELECT i_price FROM item WHERE i_id = ?1", &[item])?;
    let price = price.ok_or_else(|| SqlError::wrong(format!("no item {item}")))?;
    let stock = [warehouse, item];
    let query = "SELECT s_quantity FROM stock WHERE s_w_id = ?1 AND s_i_id = ?2";
    let left = sql.run(query, &stock)?.unwrap_or_default() - quantity;
    let left = if left < 10 { left + 91 } else { left };
    sql.run(
        "UPDATE stock SET s_quantity = ?3, s_ytd = s_ytd + ?4, s_order_cnt = s_order_cnt + 1
         WHERE s_w_id = ?1 AND s_i_id = ?2",
        &[warehouse, item, left, quantity],
    )?;
    sql.run(
        "INSERT INTO order_line VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[district, order, line, item, quantity, quantity * price],
    )?;
    Ok(())
}

/// The payment transaction (2.5).
fn payment(sql: &mut dyn Sql, district: i64, customer: i64, amount: i64) -> Result<u64, SqlError> {
    for (update, row) in [
        (
            "UPDATE warehouse SET w_ytd = w_ytd + ?2 WHERE w_id = ?1",
            warehouse(district),
        ),
        (
            "UPDATE district SET d_ytd = d_ytd + ?2 WHERE d_id = ?1",
            district,
        ),
        (
            "UPDATE customer SET c_balance = c_balance - ?2, c_payment_cnt = c_payment_cnt + 1
             WHERE c_id = ?1",
            customer,
        ),
    ] {
        sql.run(update, &[row, amount])?;
    }
    Ok(0)
}

/// Orders that there are.
pub(crate) fn counted(sql: &mut dyn Sql) -> Result<Option<i64>, SqlError> {
    sql.run("SELECT count(*) FROM orders", &[])
}

/// What must be equal at any moment (3.3.2, conditions 1, 2 and 4, and what payments and stocks
/// add up to).
const EQUAL: [(&str, &str); 5] = [
    (
        "SELECT sum(w_ytd) FROM warehouse",
        "SELECT sum(d_ytd) FROM district",
    ),
    (
        "SELECT sum(w_ytd) FROM warehouse",
        "SELECT -sum(c_balance) FROM customer",
    ),
    (
        "SELECT sum(d_next_o_id - 1) FROM district",
        "SELECT count(*) FROM orders",
    ),
    (
        "SELECT sum(o_ol_cnt) FROM orders",
        "SELECT nullif(count(*), 0) FROM order_line",
    ),
    (
        "SELECT nullif(sum(s_ytd), 0) FROM stock",
        "SELECT sum(ol_quantity) FROM order_line",
    ),
];

/// Sees whether the sums agree.
pub(crate) fn check(sql: &mut dyn Sql) -> Result<(), SqlError> {
    sql.run("BEGIN", &[])?;
    for (one, other) in EQUAL {
        let expected = sql.run(one, &[])?;
        let found = sql.run(other, &[])?;
        match expected {
            Some(expected) => same(found, expected)?,
            None => same(Some(found.unwrap_or_default()), 0)?,
        };
    }
    sql.run("COMMIT", &[]).map(drop)
}

/// Makes the tables and their rows.
pub(crate) fn fill(sql: &mut dyn Sql, warehouses: u32) -> Result<(), SqlError> {
    for table in [
        "CREATE TABLE warehouse (w_id INTEGER PRIMARY KEY, w_tax INTEGER, w_ytd INTEGER, w_address BLOB)",
        "CREATE TABLE district (d_id INTEGER PRIMARY KEY, d_next_o_id INTEGER, d_ytd INTEGER, d_address BLOB)",
        "CREATE TABLE customer (c_id INTEGER PRIMARY KEY, c_discount INTEGER, c_balance INTEGER, \
         c_payment_cnt INTEGER, c_data BLOB)",
        "CREATE TABLE item (i_id INTEGER PRIMARY KEY, i_price INTEGER, i_data BLOB)",
        "CREATE TABLE stock (s_w_id INTEGER, s_i_id INTEGER, s_quantity INTEGER, s_ytd INTEGER, \
         s_order_cnt INTEGER, s_data BLOB, PRIMARY KEY (s_w_id, s_i_id)) WITHOUT ROWID",
        "CREATE TABLE orders (o_d_id INTEGER, o_id INTEGER, o_c_id INTEGER, o_ol_cnt INTEGER, \
         PRIMARY KEY (o_d_id, o_id)) WITHOUT ROWID",
        "CREATE TABLE order_line (ol_d_id INTEGER, ol_o_id INTEGER, ol_number INTEGER, ol_i_id INTEGER, \
         ol_quantity INTEGER, ol_amount INTEGER, PRIMARY KEY (ol_d_id, ol_o_id, ol_number)) WITHOUT ROWID",
    ] {
        sql.run(table, &[])?;
    }
    let districts = warehouses * DISTRICTS;
    for (rows, row) in [
        (warehouses, "warehouse SELECT i, i % 20, 0, randomblob(80)"),
        (districts, "district SELECT i, 1, 0, randomblob(80)"),
        (
            districts * CUSTOMERS,
            "customer SELECT i, i % 50, 0, 0, randomblob(400)",
        ),
        (ITEMS, "item SELECT i, 100 + i % 9900, randomblob(60)"),
    ] {
        insert(sql, row, rows)?;
    }
    for warehouse in 1..=warehouses {
        let row = format!("stock SELECT {warehouse}, i, 10 + i % 91, 0, 0, randomblob(250)");
        insert(sql, &row, ITEMS)?;
    }
    Ok(())
}

/// Inserts rows with the numbers 1 to `rows`, in parts, for stores with a limit to a transaction.
fn insert(sql: &mut dyn Sql, row: &str, rows: u32) -> Result<(), SqlError> {
    const PART: u32 = 5000;
    for first in (1..=rows).step_by(PART as usize) {
        let last = rows.min(first + PART - 1);
        let numbers = format!(
            "WITH RECURSIVE r(i) AS (VALUES({first}) UNION ALL SELECT i + 1 FROM r WHERE i < {last})"
        );
        sql.run(&format!("{numbers} INSERT INTO {row} FROM r"), &[])?;
    }
    Ok(())
}
