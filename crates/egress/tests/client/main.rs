//! The guarded client against real sockets: servers that behave, that do not, and that should never be reached.

mod bounds;
mod guard;
mod http2;
mod outcomes;
mod proxies;
mod server;
mod tls;
