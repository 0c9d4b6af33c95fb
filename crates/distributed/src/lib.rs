//! The ports on PostgreSQL, Redis and RabbitMQ.

pub mod authority;
pub mod postgres;
pub mod rabbit;
pub mod redis;
pub mod servers;
