//! The README says of the configuration what the code says.

use nuncio_runtime::Config;

const README: &str = include_str!("../../../README.md");
const MARK: &str = "<!-- the output of `nuncio config reference` -->\n";

#[test]
fn the_readme_holds_the_reference_of_the_configuration() {
    let (_, behind) = README.split_once(MARK).expect("the README marks its table");
    let table: String = behind
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        table,
        Config::reference(),
        "replace the table by the output of `nuncio config reference`"
    );
}
