# rustc and cargo: a package with a library, tests and threads.
. /opt/programs/files/common.sh
need cargo rustc
export HOME=/tmp CARGO_HOME=/tmp/cargo
cargo -q init --vcs none --name hello hello && cd hello
cat >src/lib.rs <<'END'
use std::sync::mpsc;
use std::thread;

pub fn sum(n: u64) -> u64 {
    let (tx, rx) = mpsc::channel();
    let handles: Vec<_> = (0..4)
        .map(|k| {
            let tx = tx.clone();
            thread::spawn(move || (1..=n).filter(|i| i % 4 == k).for_each(|i| tx.send(i).unwrap()))
        })
        .collect();
    drop(tx);
    for h in handles {
        h.join().unwrap();
    }
    rx.iter().sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums() {
        assert_eq!(super::sum(100), 5050);
    }
}
END
echo 'fn main() { println!("hello {}", hello::sum(10000)); }' >src/main.rs
cargo -q build --offline && cargo -q test --offline >/dev/null
expect hello "$(./target/debug/hello)" "hello 50005000"
