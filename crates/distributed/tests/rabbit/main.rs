//! The queue and the bus on a real RabbitMQ, named by `SCOREBOARD_TEST_AMQP_URL`.

#![allow(clippy::unwrap_used)] // helpers of tests

mod broker;
mod bus;
mod damaged;
mod outages;
mod publishing;
mod settling;
