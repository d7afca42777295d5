//! The CNI side: answering the plugin, and putting the plugin into the node's chain.
mod chain;
mod install;
mod server;

pub use chain::{ChainError, chain, original, own_file_name};
pub use install::Installer;
pub use server::{Answers, serve};
