//! A server for tests of clients: it knows gets alone, and every key but `missing` has the same value.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Starts one; returns its `host:port`. It lives as long as the tests do.
pub(crate) fn server(value: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|client| drop(std::thread::spawn(move || serve(client, value)))));
    address
}

fn serve(mut client: TcpStream, value: &[u8]) {
    let mut commands = BufReader::new(client.try_clone().unwrap()).lines();
    while let Some(Ok(command)) = commands.next() {
        let words: Vec<&str> = command.split(' ').collect();
        let mut reply = Vec::new();
        match words[..] {
            ["mg", "missing", _] => reply.extend_from_slice(b"EN\r\n"),
            ["mg", _, "s"] => reply.extend_from_slice(format!("HD s{}\r\n", value.len()).as_bytes()),
            ["mg", _, _] => reply.extend_from_slice(&[format!("VA {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()),
            ["get", ref keys @ ..] => {
                for key in keys.iter().filter(|key| **key != "missing") {
                    reply.extend_from_slice(&[format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat());
                }
                reply.extend_from_slice(b"END\r\n");
            }
            _ => reply.extend_from_slice(b"ERROR\r\n"),
        }
        if client.write_all(&reply).is_err() {
            return;
        }
    }
}
