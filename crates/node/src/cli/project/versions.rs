//! The versions of a project, and the way back to one.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use w3bstream_types::{Canonical as _, Control, ControlTx, Did, Manifest, ProjectId, ProjectName, PublicKey};

use crate::cli::{Where, print, print_value};

/// How many versions are looked at for the one before.
const MOST: usize = 1000;
/// How much of a digest tells programs apart for people.
const SHORT: usize = 12;

/// Prints versions, the newest first.
pub(super) fn list(versions: &Value) {
    for (i, version) in versions.as_array().into_iter().flatten().enumerate() {
        let applets = version["applets"].as_object().into_iter().flatten();
        let short = |digest: &Value| digest.as_str().unwrap_or("").chars().take(SHORT).collect::<String>();
        let applets: Vec<String> = applets.map(|(name, d)| format!("{name} {}", short(d))).collect();
        let back = version["restores"].as_u64().map(|v| format!("  as version {v}")).unwrap_or_default();
        print(format!(
            "  version {:>5} {:9} from height {:>8}  {}  {}{back}  by {}",
            version["version"],
            if i == 0 { "in force" } else { "" },
            version["height"],
            moment(&version["time"]),
            applets.join(", "),
            version["by"].as_str().unwrap_or("-"),
        ));
    }
}

/// A moment as RFC 3339, to the second.
fn moment(time: &Value) -> String {
    let text = time.as_str().map_or_else(|| time.to_string(), str::to_owned);
    let Ok(millis) = text.parse::<u64>() else { return text };
    let (days, seconds) = (millis / 86_400_000, millis / 1000 % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The date of a day since 1970, in the proleptic Gregorian calendar.
const fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have the leap day at their end; eras of 400 years are all alike.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The version to go back to if none is named.
fn before(versions: &Value) -> anyhow::Result<u64> {
    let all: Vec<&Value> = versions.as_array().into_iter().flatten().collect();
    let current = all.first().context("the project has no version yet")?;
    let shown = current["restores"].as_u64().or_else(|| current["version"].as_u64());
    let shown = shown.context("the node gave a version without a number")?;
    let older = all.iter().filter_map(|v| v["version"].as_u64()).find(|v| *v < shown);
    older.with_context(|| {
        format!(
            "what is in force is that of version {shown}, and there is none before it; name one with --to"
        )
    })
}

/// The manifest that the owner signed as this version. What the node says is not believed without the signature.
fn signed(bytes: &[u8], (name, version): (&ProjectName, u64), owner: &PublicKey) -> anyhow::Result<Manifest> {
    let tx = ControlTx::from_canonical(bytes).context("the node gave no deployment")?;
    tx.verify(owner).context("the deployment is not signed by the owner's key of this folder")?;
    let ours = ProjectId::new(&Did::key(owner), name);
    match tx.change {
        Control::Deploy(manifest) if tx.project == ours && manifest.version == version => Ok(*manifest),
        _ => bail!("the node gave another deployment than that of version {version} of {name}"),
    }
}

/// Deploys an earlier version's manifest as the next version.
pub(super) async fn roll_back(
    at: &Where,
    name: &ProjectName,
    (to, json): (Option<u64>, bool),
) -> anyhow::Result<()> {
    let (admin, owner) = (at.admin()?, at.owner()?);
    let path = format!("/v1/projects/{name}/versions");
    let versions = admin.get(&format!("{path}?limit={MOST}")).await?["versions"].clone();
    let to = to.map_or_else(|| before(&versions), Ok)?;
    let current = versions[0]["version"].as_u64().context("the project has no version yet")?;
    if to == current {
        bail!("version {to} is in force");
    }
    let public = owner.public();
    let running = signed(&admin.get_bytes(&format!("{path}/{current}")).await?, (name, current), &public)?;
    let old = signed(&admin.get_bytes(&format!("{path}/{to}")).await?, (name, to), &public)?;
    // What is in the database cannot be taken away, so its declaration stays.
    let kept = old.database != running.database;
    let next = Manifest { version: current + 1, database: running.database, ..old };
    let version = next.version;
    let height = admin.change(name, Control::Deploy(Box::new(next)), &owner).await?;
    if json {
        print_value(&json!({
            "project": name, "version": version, "restores": to, "height": height, "database_kept": kept,
        }));
        return Ok(());
    }
    print(format!("{name} runs as version {to} from height {height} on; this is version {version}."));
    if kept {
        print(format!("Its database stays as version {current} declared it."));
    }
    print("What applets keep in their state stays as it is.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_722, (2023, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
        assert_eq!(moment(&json!("1262304061999")), "2010-01-01T00:01:01Z");
    }

    #[test]
    fn going_back_twice_does_not_come_round() {
        let version = |version: u64, restores: Option<u64>| json!({"version": version, "restores": restores});
        let (one, two, three) = (version(1, None), version(2, None), version(3, None));
        assert_eq!(before(&json!([three, two, one])).unwrap(), 2);
        // 4 is 2 again: before that was 1, not 3.
        assert_eq!(before(&json!([version(4, Some(2)), three, two, one])).unwrap(), 1);
        assert!(before(&json!([version(5, Some(1)), three, two, one])).is_err());
        assert!(before(&json!([])).is_err());
    }
}
