//! Public types can be shared between threads and moved while they are polled. Held by the
//! compiler.

use purrr_server::{Handle, Metrics, Part, RouterBuilder, cli, config, transport};

const fn check<T: Send + Sync + Unpin>() {}

const fn check_owned<T: Send + Unpin>() {}

const _: () = {
    check::<(config::Backend, config::BackendError, config::Config, config::ConfigError)>();
    check::<(config::Network, config::NetworkError, config::Origin, config::OriginError)>();
    check::<(config::Guards, config::ServerConfig, Handle, Metrics, Part, RouterBuilder)>();
    check::<(cli::Action, cli::Cli, cli::CliError, cli::Settings)>();
    check::<transport::Message>();
    // It has one owner.
    check_owned::<transport::Connection>();
};
