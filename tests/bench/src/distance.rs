//! Distance: relays that hold every reply back for a while, as if the server were far away.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Failure;

/// Listens on a free port of 127.0.0.1 and passes everything on to `server`; replies arrive `delay` later. Returns its `host:port`.
///
/// It goes on until the program ends.
///
/// # Errors
///
/// If there is no port or no thread to be had.
pub fn relay(server: &str, delay: Duration) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, server) = (listener.local_addr()?.to_string(), server.to_owned());
    std::thread::Builder::new().name("relay".into()).spawn(move || {
        for client in listener.incoming().flatten() {
            // Who cannot be served sees its connection closed.
            let _ = pass_on(client, &server, delay);
        }
    })?;
    Ok(address)
}

fn pass_on(mut client: TcpStream, server: &str, delay: Duration) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut replies, mut caller) = (server.try_clone()?, client.try_clone()?);
    let (later, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut client, &mut server);
        let _ = server.shutdown(Shutdown::Both);
    });
    // Each piece is held back by itself, so a long reply is late only once.
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = replies.read(&mut buffer) {
            if later.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (at, bytes) in due {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if caller.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = caller.shutdown(Shutdown::Both);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use crate::floor::{Floor, Request};

    #[test]
    fn a_reply_of_any_length_arrives_whole_and_not_before_its_time() {
        const DELAY: Duration = Duration::from_millis(40);
        let far = relay(&fake::server(&[b'x'; 900_000]), DELAY).unwrap();
        let (mut floor, started) = (Floor::connect(&far).unwrap(), Instant::now());
        assert_eq!(floor.exchange(&Request::meta_gets(&["long", "missing"])).unwrap(), 1);
        assert!(started.elapsed() >= DELAY);
    }
}
