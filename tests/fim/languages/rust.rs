use std::collections::HashMap;
use std::io::{self, Read};

const LIMIT: u32 = 3;

pub struct Stock {
    left: HashMap<String, u32>,
}

pub trait Scarce {
    fn scarce(&self) -> Vec<&str>;
}

impl Scarce for Stock {
    fn scarce(&self) -> Vec<&str> {
        // Sorted, so that the list keeps still.
        let mut names: Vec<&str> = self.left.iter().filter(|(_, n)| **n < LIMIT).map(|(k, _)| k.as_str()).collect();
        ║names.sort();
        names
    }
}

fn main() -> io::Result<()> {
    println!("scarce: {}", 'x');
    Ok(())
}
