//! One behavioural suite over all engines.
#![allow(clippy::unwrap_used, reason = "tests")]

mod suite;

use suite::ground::{Loopback, Simulated};
use suite::{buffers, errors, ports, traffic, waiting, workers};

macro_rules! suite {
    ($($part:ident :: { $($test:ident),* $(,)? })*) => {
        mod mmsg {
            use super::*;
            $($(#[test] fn $test() { $part::$test::<Loopback<sterna_io::mmsg::MmsgEngine>>(); })*)*
        }
        mod uring {
            use super::*;
            $($(#[test] fn $test() {
                // Where io_uring is forbidden, the probe's own tests say so.
                if suite::ground::has_uring() {
                    $part::$test::<Loopback<sterna_io::uring::UringEngine>>();
                }
            })*)*
        }
        mod sim {
            use super::*;
            $($(#[test] fn $test() { $part::$test::<Simulated>(); })*)*
        }
    };
}

suite! {
    traffic::{
        a_datagram_comes_back_as_it_was_sent,
        a_datagram_comes_back_over_ipv6,
        a_train_comes_in_as_its_segments_and_leaves_with_headers_and_tails,
        without_offloads_a_train_is_single_datagrams_both_ways,
        one_packet_goes_to_many_with_a_header_each,
        the_longest_header_fits_before_a_whole_packet,
        empty_datagrams_come_through_and_end_nothing,
        flows_that_are_interleaved_stay_in_order,
        flows_that_take_turns_leave_together,
        groups_stay_below_the_kernels_limits,
        more_than_the_queue_holds_is_sent_all_the_same,
        an_early_flush_leaves_the_batch_alone,
        a_datagram_longer_than_a_buffer_is_dropped_and_counted,
        what_cannot_be_sent_is_counted_by_its_reason,
        ecn_and_dscp_are_kept_and_copies_have_none,
        a_fixed_dscp_is_on_everything_beside_the_ecn_bits,
    }
    ports::{
        a_relay_port_receives_and_sends,
        a_port_is_free_again_a_turn_after_its_close,
        many_ports_are_closed_at_once,
        a_taken_port_is_in_use,
        an_address_of_another_host_is_not_local,
        a_full_table_is_said_to_be_full,
        a_held_socket_is_adopted,
        a_closed_port_hands_out_nothing_more,
        what_is_queued_on_a_port_leaves_before_it_closes,
        a_port_closes_while_it_is_flooded,
    }
    buffers::{
        more_packets_than_buffers_are_all_received,
        no_buffer_is_lost_over_many_batches,
        a_shared_packet_outlives_its_batch_and_leaves_through_another_engine,
        sharing_stops_at_half_of_the_buffers_and_goes_on_when_they_return,
        a_shared_packet_outlives_its_engine,
        a_flood_beyond_all_buffers_leaves_a_working_engine,
        many_flooded_ports_share_few_buffers,
    }
    errors::{
        a_closed_port_of_a_peer_is_told_with_its_address,
        an_error_costs_no_other_datagram_its_way,
        errors_of_a_port_that_is_closed_are_nobodys,
        a_flood_of_errors_leaves_a_working_port,
        what_the_host_itself_refuses_is_told_at_once,
        a_datagram_that_must_stay_whole_leaves_among_others,
    }
    waiting::{
        a_turn_ends_at_its_deadline_and_not_before,
        a_wake_from_another_thread_ends_a_wait_without_deadline,
        a_packet_ends_a_wait_without_deadline,
        an_idle_engine_sleeps_in_the_kernel,
    }
    workers::{
        buffers_travel_between_threads_and_come_back,
    }
}
