//! Both machines against each other: what must hold between devices and a node.

mod crossing;
mod handshake;
mod moving;
mod rates;
mod sessions;
