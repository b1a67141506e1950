//! `moxctl alias`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use ipc_proto::{
    alias::{AliasInfo, AliasOptions, AliasRequest, MemberInfo, Post},
    authd::{AdminToAuthd, AuthdToAdmin, PAGE},
};
use mail_lib::address::Address;
use serde::Serialize;

use crate::{
    control::{self, Directory, pages},
    failure::Failure,
    output::{Output, printable},
    table::Table,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Make an address whose mail goes to several accounts
    Add {
        /// Such as team@example.org
        #[arg(value_parser = address)]
        alias: Address,
        /// An account's address; give it once for each member
        #[arg(long = "member", value_name = "ADDRESS", required = true, value_parser = address)]
        members: Vec<Address>,
        #[command(flatten)]
        options: Options,
    },
    /// List all aliases
    List,
    /// Show an alias with its members
    Show {
        /// Its address
        #[arg(value_parser = address)]
        alias: Address,
    },
    /// Change what an alias does
    #[command(group(ArgGroup::new("change").required(true).multiple(true).args(["post", "list_members", "from"])))]
    Set {
        /// Its address
        #[arg(value_parser = address)]
        alias: Address,
        #[command(flatten)]
        options: Options,
    },
    /// Who gets an alias's mail
    #[command(subcommand)]
    Member(Member),
    /// Remove an alias; its members keep what they got
    Rm {
        /// Its address
        #[arg(value_parser = address)]
        alias: Address,
    },
    /// Take mail again
    Enable {
        /// Its address
        #[arg(value_parser = address)]
        alias: Address,
    },
    /// Take no mail for now: senders are told to try later
    Disable {
        /// Its address
        #[arg(value_parser = address)]
        alias: Address,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Member {
    /// Have further accounts get its mail
    Add {
        /// The alias
        #[arg(value_parser = address)]
        alias: Address,
        /// Accounts' addresses
        #[arg(required = true, value_parser = address)]
        members: Vec<Address>,
    },
    /// Have them get no more of its mail, not even what waits for them
    Rm {
        /// The alias
        #[arg(value_parser = address)]
        alias: Address,
        /// Members' addresses
        #[arg(required = true, value_parser = address)]
        members: Vec<Address>,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// Who may send mail to it [default: anyone]
    #[arg(long, value_name = "WHO")]
    post: Option<Who>,
    /// Members may see who the others are
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    list_members: Option<Switch>,
    /// Members may send with it as the sender
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    from: Option<Switch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Its members
    Members,
    /// Everybody
    Anyone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// They may
    Yes,
    /// They may not
    No,
}

impl Options {
    fn post(self) -> Option<Post> {
        self.post.map(|post| match post {
            Who::Members => Post::Members,
            Who::Anyone => Post::Anyone,
        })
    }

    fn list_members(self) -> Option<bool> {
        self.list_members.map(|switch| switch == Switch::Yes)
    }

    fn from(self) -> Option<bool> {
        self.from.map(|switch| switch == Switch::Yes)
    }
}

/// An alias as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    alias: String,
    disabled: bool,
    /// `members` or `anyone`.
    post: &'static str,
    list_members: bool,
    from: bool,
    members: u32,
}

#[derive(Debug, Serialize)]
struct MemberRow {
    address: String,
    account: String,
    disabled: bool,
}

/// An alias with its members.
#[derive(Debug, Serialize)]
struct Shown {
    alias: Row,
    members: Vec<MemberRow>,
}

pub(crate) fn run(command: Alias, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let (request, done) = match command {
        Alias::List => {
            let rows: Vec<_> = aliases(directory)?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            return Ok(());
        }
        Alias::Show { alias } => return show(&alias, directory, output),
        Alias::Add { alias, members, options } => {
            let done = format!("mail for {alias} goes to {} member(s)", members.len());
            let options = AliasOptions {
                post: options.post().unwrap_or(Post::Anyone),
                list_members: options.list_members().unwrap_or(false),
                from: options.from().unwrap_or(false),
            };
            (AliasRequest::Add { alias, members, options }, done)
        }
        Alias::Set { alias, options } => {
            let done = format!("{alias} changed");
            let (post, list_members, from) = (options.post(), options.list_members(), options.from());
            (AliasRequest::Set { alias, post, list_members, from }, done)
        }
        Alias::Member(Member::Add { alias, members }) => {
            let done = format!("mail for {alias} goes to {}, too", listed(&members));
            (AliasRequest::MemberAdd { alias, members }, done)
        }
        Alias::Member(Member::Rm { alias, members }) => {
            let done = format!("mail for {alias} goes to {} no more", listed(&members));
            (AliasRequest::MemberRemove { alias, members }, done)
        }
        Alias::Enable { alias } => {
            let done = format!("{alias} takes mail");
            (AliasRequest::Disable(alias, false), done)
        }
        Alias::Disable { alias } => {
            let done = format!("{alias} takes no mail until `moxctl alias enable {alias}`");
            (AliasRequest::Disable(alias, true), done)
        }
        Alias::Rm { alias } => {
            let done = format!("{alias} removed");
            (AliasRequest::Remove(alias), done)
        }
    };
    directory.change(&AdminToAuthd::Alias(request))?;
    output.done(&done);
    Ok(())
}

fn listed(members: &[Address]) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn aliases(directory: &Directory) -> Result<Vec<AliasInfo>, Failure> {
    pages(
        PAGE,
        |after| match directory.ask(&AdminToAuthd::Alias(AliasRequest::List { after }))? {
            AuthdToAdmin::Aliases(page) => Ok(page),
            other => Err(control::odd(&other)),
        },
        |alias| alias.alias.clone(),
    )
}

fn members(alias: &Address, directory: &Directory) -> Result<Vec<MemberInfo>, Failure> {
    pages(
        PAGE,
        |after| {
            let request = AliasRequest::Members { alias: alias.clone(), after };
            match directory.ask(&AdminToAuthd::Alias(request))? {
                AuthdToAdmin::Members(page) => Ok(page),
                other => Err(control::odd(&other)),
            }
        },
        |member| member.address.clone(),
    )
}

fn show(alias: &Address, directory: &Directory, output: &Output) -> Result<(), Failure> {
    // Refused where there is no such alias, so the list below has it.
    let members = members(alias, directory)?.into_iter().map(MemberRow::from).collect();
    let folded = |address: &Address| address.to_string().to_lowercase();
    let found = aliases(directory)?.into_iter().find(|found| folded(&found.alias) == folded(alias));
    let found =
        found.ok_or_else(|| Failure::Refused(format!("no alias {alias}; see `moxctl alias list`")))?;
    let shown = Shown { alias: Row::from(found), members };
    output.show(&shown, |Shown { alias, members }| {
        let mut text = table(std::slice::from_ref(alias)).to_string();
        for MemberRow { address, account, disabled } in members {
            let state = if *disabled { " (takes no mail now)" } else { "" };
            text.push_str(&format!(
                "  member: {}, account {}{state}\n",
                printable(address),
                printable(account)
            ));
        }
        text
    });
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let headings = ["ALIAS", "MEMBERS", "POSTED TO BY", "MEMBERS MAY", "STATE"];
    let mut table = Table::new(&headings, "no aliases; add one with `moxctl alias add`");
    for row in rows {
        let may = match (row.list_members, row.from) {
            (false, false) => "-",
            (true, false) => "see each other",
            (false, true) => "send as it",
            (true, true) => "see each other, send as it",
        };
        let state = if row.disabled { "disabled" } else { "takes mail" };
        table.row([
            row.alias.clone(),
            row.members.to_string(),
            row.post.to_owned(),
            may.to_owned(),
            state.to_owned(),
        ]);
    }
    table
}

impl From<AliasInfo> for Row {
    fn from(info: AliasInfo) -> Self {
        let AliasInfo { alias, options: AliasOptions { post, list_members, from }, disabled, members } = info;
        let post = match post {
            Post::Members => "members",
            Post::Anyone => "anyone",
        };
        Self { alias: alias.to_string(), disabled, post, list_members, from, members }
    }
}

impl From<MemberInfo> for MemberRow {
    fn from(member: MemberInfo) -> Self {
        let MemberInfo { address, account, disabled } = member;
        Self { address: address.to_string(), account, disabled }
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| format!("{error}; write it like team@example.org"))
}
