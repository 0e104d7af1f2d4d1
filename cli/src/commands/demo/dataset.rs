//! The SQLite file of a web shop.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::error::sql_error;

const SCHEMA: &str = "
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE,
  city TEXT NOT NULL, joined TEXT NOT NULL, visits INTEGER NOT NULL DEFAULT 0);
CREATE INDEX customers_by_city ON customers(city);
CREATE TABLE products(id INTEGER PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL,
  stock INTEGER NOT NULL);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers,
  placed TEXT NOT NULL, total_cents INTEGER NOT NULL);
CREATE INDEX orders_by_customer ON orders(customer_id, placed);
CREATE TABLE order_items(order_id INTEGER NOT NULL REFERENCES orders,
  product_id INTEGER NOT NULL REFERENCES products, quantity INTEGER NOT NULL,
  price_cents INTEGER NOT NULL, PRIMARY KEY(order_id, product_id)) WITHOUT ROWID;
CREATE INDEX items_by_product ON order_items(product_id);
CREATE TABLE deliveries(id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL REFERENCES products,
  quantity INTEGER NOT NULL, arrived TEXT NOT NULL);
CREATE VIRTUAL TABLE notes USING fts5(body);
";

/// Words to make names of, and two steps of a multiplicative hash to choose among them.
const WORDS: &str = "
CREATE TEMP TABLE first(id INTEGER PRIMARY KEY, word);
INSERT INTO first(word) VALUES('Ada'), ('Alan'), ('Barbara'), ('Carol'), ('Donald'), ('Edsger'),
  ('Frances'), ('Grace'), ('Jim'), ('Leslie'), ('Margaret'), ('Niklaus'), ('Radia'), ('Tony');
CREATE TEMP TABLE last(id INTEGER PRIMARY KEY, word);
INSERT INTO last(word) VALUES('Archer'), ('Baker'), ('Carter'), ('Dyer'), ('Fisher'), ('Glover'),
  ('Hunter'), ('Mason'), ('Miller'), ('Potter'), ('Sawyer'), ('Smith'), ('Tanner'), ('Weaver');
CREATE TEMP TABLE city(id INTEGER PRIMARY KEY, word);
INSERT INTO city(word) VALUES('Bergen'), ('Bern'), ('Bologna'), ('Bordeaux'), ('Bremen'),
  ('Bristol'), ('Brno'), ('Bruges'), ('Budapest');
CREATE TEMP TABLE adjective(id INTEGER PRIMARY KEY, word);
INSERT INTO adjective(word) VALUES('blue'), ('brass'), ('folding'), ('heavy'), ('light'),
  ('oak'), ('quiet'), ('round'), ('small'), ('steel'), ('warm'), ('woollen');
CREATE TEMP TABLE thing(id INTEGER PRIMARY KEY, word);
INSERT INTO thing(word) VALUES('blanket'), ('bottle'), ('chair'), ('clock'), ('desk'),
  ('kettle'), ('lamp'), ('mirror'), ('pan'), ('shelf'), ('table'), ('vase');
CREATE TEMP TABLE number(n INTEGER PRIMARY KEY, h INTEGER NOT NULL);
";

const NUMBERS: &str = "
WITH RECURSIVE count(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM count WHERE n < ?1)
INSERT INTO number SELECT n, (n * 2654435761) % 4294967296 / 64 FROM count";

const CUSTOMERS: &str = "
INSERT INTO customers(id, name, email, city, joined)
SELECT n, first.word || ' ' || last.word,
  lower(first.word || '.' || last.word) || n || '@example.com', city.word,
  date('2020-01-01', (h % 2000) || ' days')
FROM number JOIN first ON first.id = 1 + h % 14 JOIN last ON last.id = 1 + h / 14 % 14
  JOIN city ON city.id = 1 + h / 196 % 9
WHERE n <= ?1 ORDER BY n";

const PRODUCTS: &str = "
INSERT INTO products(id, name, price_cents, stock)
SELECT n, adjective.word || ' ' || thing.word || ' no. ' || n, 199 + h % 20000, 1000 + h % 500
FROM number JOIN adjective ON adjective.id = 1 + h % 12 JOIN thing ON thing.id = 1 + h / 12 % 12
WHERE n <= ?1 ORDER BY n";

const NOTES: &str = "
INSERT INTO notes(rowid, body)
SELECT id, 'The ' || name || ' is made by hand and sent within ' || (1 + id % 5) || ' days.'
FROM products";

const ORDERS: &str = "
INSERT INTO orders(id, customer_id, placed, total_cents)
SELECT n, 1 + h % ?2, datetime('2025-01-01', (n * 97) || ' seconds'), 0
FROM number WHERE n <= ?1";

/// Two items an order; the second product is never the first.
const ITEMS: &str = "
INSERT INTO order_items(order_id, product_id, quantity, price_cents)
SELECT n, p.id, 1 + (h + k) % 3, p.price_cents
FROM number, (SELECT 0 AS k UNION ALL SELECT 1)
  JOIN products AS p ON p.id = 1 + (h / 3 + k * (1 + h % (?2 - 1))) % ?2
WHERE n <= ?1";

const TOTALS: &str = "
UPDATE orders SET total_cents = (SELECT sum(quantity * price_cents) FROM order_items
  WHERE order_id = orders.id)";

/// How many rows the shop has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) customers: u32,
    pub(super) products: u32,
    pub(super) orders: u32,
    pub(super) items: u32,
}

/// Makes the file, with about so many rows in all.
pub(super) fn make(file: &Path, rows: u32) -> anyhow::Result<Made> {
    fill(file, rows).map_err(sql_error)
}

fn fill(file: &Path, rows: u32) -> rusqlite::Result<Made> {
    let orders = rows / 4;
    let made = Made {
        customers: rows / 20 * 3,
        products: rows / 20,
        orders,
        items: orders * 2,
    };
    let connection = Connection::open(file)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute_batch("BEGIN")?;
    connection.execute_batch(WORDS)?;
    connection.execute(NUMBERS, [made.orders])?;
    connection.execute(CUSTOMERS, [made.customers])?;
    connection.execute(PRODUCTS, [made.products])?;
    connection.execute(NOTES, [])?;
    connection.execute(ORDERS, params![made.orders, made.customers])?;
    connection.execute(ITEMS, params![made.orders, made.products])?;
    connection.execute(TOTALS, [])?;
    connection.execute_batch("COMMIT")?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shop_has_the_rows_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.sqlite");
        let made = make(&file, 2000).unwrap();
        let connection = Connection::open(file).unwrap();
        let count = |sql: &str| -> u32 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(count("SELECT count(*) FROM customers"), made.customers);
        assert_eq!(count("SELECT count(*) FROM products"), made.products);
        assert_eq!(
            count("SELECT count(*) FROM orders WHERE total_cents > 0"),
            made.orders
        );
        assert_eq!(count("SELECT count(*) FROM order_items"), made.items);
        assert_eq!(
            count("SELECT count(*) FROM notes WHERE notes MATCH 'hand'"),
            made.products
        );
        assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    }
}
