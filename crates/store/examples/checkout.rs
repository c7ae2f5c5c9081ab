//! What a connection per call costs against one that is shared: `cargo run --release -p nuncio-store --example checkout --
//! redis://127.0.0.1:6379/0`.
//!
//! The same calls, a hundred at a time: each with a connection checked out of the pool, which pings it first, and all on
//! one connection leased from the pool, which pipelines them. Prints calls per second and CPU of both sides.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::time::Duration;

use deadpool_redis::{Config, Runtime};
use nuncio_store::{Store, StoreConfig};
use secrecy::SecretString;
use tokio::time::Instant;

const CALLS: usize = 100_000;
const AT_A_TIME: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("the address of a Redis is missing")?;
    let secret = SecretString::from("a main secret for measuring, long enough");
    let store = Store::connect(StoreConfig {
        call_timeout: Duration::from_secs(5),
        ..StoreConfig::new(&url, "nuncio", secret)
    })?;
    let pool = Config::from_url(url).create_pool(Some(Runtime::Tokio1))?;
    pool.resize(8);

    let before = Cpu::now(&store).await?;
    for _ in 0..CALLS / AT_A_TIME {
        let calls = (0..AT_A_TIME).map(|_| async {
            let mut connection = pool.get().await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            Ok::<_, Box<dyn Error>>(())
        });
        futures_util::future::try_join_all(calls).await?;
    }
    before.report("checked out per call", &store).await?;

    let before = Cpu::now(&store).await?;
    for _ in 0..CALLS / AT_A_TIME {
        futures_util::future::try_join_all((0..AT_A_TIME).map(|_| store.ping())).await?;
    }
    before.report("leased and shared", &store).await
}

struct Cpu {
    at: Instant,
    server: f64,
    own: f64,
}

impl Cpu {
    async fn now(store: &Store) -> Result<Self, Box<dyn Error>> {
        let info = store.server_info().await?;
        let seconds = |name: &str| {
            info.get(name)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or_default()
        };
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let (_, fields) = stat.rsplit_once(')').ok_or("unexpected /proc/self/stat")?;
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse::<f64>().ok())
            .sum();
        Ok(Self {
            at: Instant::now(),
            server: seconds("used_cpu_user") + seconds("used_cpu_sys"),
            own: ticks / 100.0,
        })
    }

    async fn report(&self, what: &str, store: &Store) -> Result<(), Box<dyn Error>> {
        let now = Self::now(store).await?;
        println!(
            "{what}: {:.0} calls/s, {:.1} µs of the server, {:.1} µs of this process each",
            CALLS as f64 / now.at.duration_since(self.at).as_secs_f64(),
            (now.server - self.server) / CALLS as f64 * 1e6,
            (now.own - self.own) / CALLS as f64 * 1e6
        );
        Ok(())
    }
}
