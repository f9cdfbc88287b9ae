//! The reference node: the stock registry of backends, and nothing else.

use std::process::ExitCode;

use w3bstream_node::Registry;

fn main() -> ExitCode {
    w3bstream_node::main(Registry::stock())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_stock_registry_has_the_backends_that_the_defaults_name() {
        let shown = format!("{:?}", w3bstream_node::Registry::stock());
        assert!(shown.contains("sqlite") && shown.contains("solo"), "{shown}");
    }
}
