//! The proxy's process.
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control;
use super::http::get_unix;
use super::network::Ns;

pub struct Proxy {
    child: Child,
    log: PathBuf,
    socket: PathBuf,
}

impl Proxy {
    /// Starts the binary in the node's namespace.
    pub fn start(host: &Ns, folder: &Path, name: &str, env: &[(&str, &str)]) -> Self {
        let out = File::create(log_of(folder, name)).unwrap();
        Self::writing_to(out.into(), host, folder, name, env)
    }

    /// The same with its log somewhere else than in the folder.
    pub fn writing_to(
        out: OwnedFd,
        host: &Ns,
        folder: &Path,
        name: &str,
        env: &[(&str, &str)],
    ) -> Self {
        let log = log_of(folder, name);
        let errors = File::options().create(true).append(true).open(&log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tulle-proxy"));
        command
            .env_clear()
            .env("TULLE_NODE_NAME", "node-1")
            .env("TULLE_POD_NAME", name)
            .env(
                "TULLE_CONTROL_ADDRESS",
                format!("https://127.0.0.1:{}", control::PORT),
            )
            .env("TULLE_TRUST_BUNDLE", folder.join("root-cert.pem"))
            .env("TULLE_TOKEN", folder.join("token"))
            .env("TULLE_RUN_DIR", folder)
            .env("TULLE_DRAIN_SECONDS", "10")
            .env("TULLE_LOG", "debug")
            .env("RUST_BACKTRACE", "1")
            .envs(env.iter().copied())
            .stderr(errors.unwrap())
            .stdout(out);
        let child = host.run(|| command.spawn().unwrap());
        Self {
            child,
            log,
            socket: folder.join("proxies").join(format!("{name}.sock")),
        }
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&get_unix(&self.socket, "/status").unwrap().1).unwrap()
    }

    /// Whether it says it is ready; not yet, when it cannot be asked.
    pub fn ready(&self) -> bool {
        get_unix(&self.socket, "/status").is_ok_and(|(_, text)| {
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["ready"] == true
        })
    }

    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().try_into().unwrap()), signal).unwrap();
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn access_log(&self) -> Vec<HashMap<String, serde_json::Value>> {
        let log = self.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("\"target\":\"access\""));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

fn log_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
