//! The all-in-one server and the operator's command line; everything is in the library.

fn main() -> std::process::ExitCode {
    scoreboard::command_line::main()
}
