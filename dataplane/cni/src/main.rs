//! The CNI plugin's entry point; see the library.
use std::io::Write;
use std::process::ExitCode;

use tulle_cni::{CniError, Environment, run};

fn main() -> ExitCode {
    let environment = Environment::from_process();
    let mut output = Vec::new();
    let result = run(&environment, std::io::stdin().lock(), &mut output);
    match result {
        Ok(()) => print(&output),
        Err(error) => {
            eprintln!("tulle-cni: {error}");
            print(CniError::to_json(&error, "1.0.0").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn print(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
