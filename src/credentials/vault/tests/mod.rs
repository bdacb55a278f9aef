//! The vault source against a stub that misbehaves on purpose, and against a real OpenBao.

mod faults;
mod openbao;
mod rotation;
mod server;
mod stub;
