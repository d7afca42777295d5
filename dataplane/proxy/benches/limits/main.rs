//! The proxy between network namespaces, flooded and called on order: `test/bench/limits/proxy.ts` gives the orders, one a line on
//! standard input, and measures. Each is answered by one line of JSON, with an `error` where it failed. Ends with its input.
//!
//! * `call N`: what the honest caller N does, once.
//! * `flood N`: begins flood N.
//! * `calm`: ends it.
//!
//! The first line says which there are. Needs root, `ip` and `nft`; no cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on ends by panicking"
)]

mod calls;
mod clients;
mod fixture;
mod floods;
#[allow(dead_code, reason = "the mesh tests use the rest")]
#[path = "../../tests/mesh/harness/mod.rs"]
mod harness;
mod log;

use std::io;

use serde_json::{Value, json};

use calls::CALLS;
use fixture::Ground;
use floods::{FLOODS, Flood};

fn main() {
    // Of the applications and the control plane; floods have threads of their own.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Ground::new());
    let names = json!({
        "pid": fixture.mesh.proxy.id(),
        "calls": CALLS.map(|(name, _)| name),
        "floods": FLOODS.map(|(name, _)| name),
    });
    println!("{names}");
    let mut flood = None;
    for order in io::stdin().lines() {
        println!("{}", answer(&fixture, &mut flood, &order.unwrap()));
    }
}

fn answer(fixture: &Ground, flood: &mut Option<Flood>, order: &str) -> Value {
    let (verb, number) = order.split_once(' ').unwrap_or((order, "0"));
    let number: usize = number.parse().unwrap();
    let done = match verb {
        "call" => CALLS[number].1(fixture),
        "flood" => {
            *flood = Some(FLOODS[number].1(fixture));
            Ok(())
        }
        "calm" => {
            *flood = None;
            Ok(())
        }
        _ => panic!("no such order: {order}"),
    };
    match done {
        Ok(()) => json!({}),
        Err(error) => json!({ "error": error.to_string() }),
    }
}
