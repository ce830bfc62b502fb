//! Addresses at which nobody listens: their machine answers at once that it takes no connection there.
//!
//! Must never give up an address that does not answer at all, or that it cannot read: the network may be slow.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::address::socket_of;

/// How long refusals alone must have come: a node that is just starting listens after that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one answer may take; a refusal takes less.
const CONNECT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(500);

/// Returns once all these addresses have refused again and again; never if one of them does anything else.
pub async fn of_all(addresses: &[String]) {
    let sockets: Option<Vec<SocketAddr>> = addresses.iter().map(|text| socket_of(text)).collect();
    let Some(sockets) = sockets.filter(|sockets| !sockets.is_empty()) else {
        return std::future::pending().await;
    };
    let begun = Instant::now();
    loop {
        for socket in &sockets {
            match timeout(CONNECT, TcpStream::connect(socket)).await {
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
                _ => return std::future::pending().await,
            }
        }
        if begun.elapsed() >= PATIENCE {
            return;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Does it give up a while after its patience?
    fn gives_up(addresses: &[String]) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { timeout(PATIENCE + CONNECT, of_all(addresses)).await.is_ok() })
    }

    #[test]
    fn only_what_refuses_is_given_up() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
        let at = listener.local_addr().expect("an address").port();
        let open = format!("/ip4/127.0.0.1/tcp/{at}/p2p/12D3");
        let closed = "/ip4/127.0.0.1/tcp/1/p2p/12D3".to_owned();
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| gives_up(std::slice::from_ref(&closed)));
            let one_listens = scope.spawn(|| gives_up(&[closed.clone(), open]));
            let by_name = scope.spawn(|| gives_up(&["/dns4/localhost/tcp/1".to_owned(), closed.clone()]));
            assert!(refused.join().expect("no panic"));
            assert!(!one_listens.join().expect("no panic") && !by_name.join().expect("no panic"));
        });
    }
}
