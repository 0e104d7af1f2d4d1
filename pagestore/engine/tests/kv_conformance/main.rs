//! Goal: every backend keeps the key-value contract. Method: one suite of generic tests
//! that runs over each of them, and a random test against a plain model.

#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod model;
#[cfg(test)]
mod ranges;
#[cfg(test)]
mod stamps;
#[cfg(test)]
mod support;
#[cfg(test)]
mod threads;

/// One test function per backend and generic test.
macro_rules! suite {
    ($($module:ident: $($test:ident),+;)+) => {
        #[cfg(test)]
        mod memory {
            $($(#[test]
            fn $test() {
                crate::$module::$test(&crate::support::memory());
            })+)+
        }

        #[cfg(test)]
        mod sqlite {
            $($(#[test]
            fn $test() {
                let (kv, _directory) = crate::support::sqlite();
                crate::$module::$test(&kv);
            })+)+
        }

        #[cfg(test)]
        mod sqlite_that_flushes_often {
            $($(#[test]
            fn $test() {
                let (kv, _directory) = crate::support::sqlite_with_short_tail();
                crate::$module::$test(&kv);
            })+)+
        }

        #[cfg(all(test, feature = "foundationdb"))]
        mod fdb {
            $($(#[test]
            fn $test() {
                crate::support::with_fdb(crate::$module::$test);
            })+)+
        }
    };
}

suite! {
    isolation:
        a_snapshot_does_not_move,
        own_writes_are_visible_to_the_transaction_only,
        a_dropped_transaction_leaves_nothing,
        a_new_transaction_sees_every_acknowledged_commit,
        a_read_only_commit_always_succeeds,
        any_bytes_are_keys_and_values;
    conflicts:
        a_lost_update_conflicts,
        write_skew_conflicts,
        a_phantom_in_a_range_conflicts,
        beyond_the_last_key_of_a_full_answer_nothing_conflicts,
        snapshot_reads_add_no_conflict,
        reads_of_own_writes_add_no_conflict,
        blind_writes_do_not_conflict,
        explicit_conflict_ranges_count_like_reads_and_writes,
        two_attempts_at_one_commit_exclude_each_other,
        a_cleared_range_is_written_even_where_it_was_empty,
        a_transaction_does_not_conflict_with_earlier_commits,
        begin_at_checks_conflicts_from_there_on;
    ranges:
        both_directions_and_limits,
        a_range_may_end_at_a_value,
        own_writes_are_merged_in,
        later_writes_win_over_earlier_ones,
        empty_and_reversed_ranges_are_empty,
        several_ranges_are_answered_in_order,
        a_long_range_with_scattered_own_writes;
    stamps:
        the_stamp_ends_the_key_and_is_the_commits,
        stamps_ascend,
        a_stamped_write_conflicts_with_readers_of_its_prefix,
        stamped_writes_take_their_place_in_the_order_of_writes,
        a_commit_is_visible_at_its_read_version;
    limits:
        writes_over_the_limits_are_refused,
        the_longest_key_is_taken,
        values_up_to_the_limit_of_a_distributed_store_are_taken;
    threads:
        counters_are_exact,
        sums_are_constant_in_every_snapshot,
        suspension_waits_and_holds_back;
    faults:
        scripted_faults_do_what_they_say,
        unknown_results_are_found_out_by_looking,
        random_faults_lose_and_repeat_nothing;
}
