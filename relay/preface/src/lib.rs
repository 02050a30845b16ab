//! What comes on a stream before its protocol begins, read from bytes that nobody has vouched for.
//!
//! | what | where |
//! |---|---|
//! | who a load balancer says that its client is | [`proxy`] |
//! | the request of whoever comes to the `wss` port, and the answer to it | [`upgrade`] |
//!
//! Each is asked again with every byte that came so far, and says how many more may be read: never
//! one that belongs to what follows.
#![forbid(unsafe_code)]

pub mod proxy;
pub mod upgrade;
