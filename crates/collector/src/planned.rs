//! The store that a prepared collector's plan names. Nothing of it is taken from the environment, nor from files of the
//! host: both are the attacker's.

use anyhow::{Result, bail};
use scelle::{PlannedDelivery, PlannedLogin, PlannedS3, PlannedSecret, PlannedSftp};
use scelle_deliver::{Address, Credentials, S3, S3Options, Secret, Sftp, SftpOptions, Store};

/// The address of a folder that each run's bundle goes to, under a name of its own.
///
/// # Errors
/// Where it is none.
pub fn folder(to: &str) -> Result<Address> {
    let address: Address = to.parse()?;
    if let Some(name) = address.file_name() {
        bail!(
            "{address} names a file, {name:?}, and each run makes a bundle of its own: name a folder, \
             with a `/` at its end"
        );
    }
    Ok(address)
}

/// The store, for one bundle in its folder.
///
/// # Errors
/// Where what the plan says can't be used.
pub fn store(planned: &PlannedDelivery, file_name: &str) -> Result<Box<dyn Store>> {
    let address = folder(planned.to())?.with_file_name(file_name);
    match planned {
        PlannedDelivery::S3(planned) => {
            let store = S3::new(address, credentials(planned), s3(planned))?;
            Ok(Box::new(store))
        }
        PlannedDelivery::Sftp(planned) => Ok(Box::new(Sftp::new(address, sftp(planned))?)),
    }
}

/// How it is reached, in words.
pub fn way(planned: &PlannedDelivery) -> String {
    match planned {
        PlannedDelivery::S3(PlannedS3 {
            endpoint,
            region,
            authorities,
            proxy,
            ..
        }) => {
            let mut way = match (endpoint, region) {
                (Some(endpoint), _) => endpoint.clone(),
                (None, Some(region)) => format!("AWS, {region}"),
                (None, None) => "AWS".into(),
            };
            if authorities.is_some() {
                way.push_str(", by its own authority alone");
            }
            if let Some(proxy) = proxy {
                way.push_str(&format!(", through {proxy}"));
            }
            way
        }
        PlannedDelivery::Sftp(planned) => {
            format!("a server with the key {}", planned.host_keys.join(" or "))
        }
    }
}

/// The options with which `scelle deliver` reaches the same store.
pub fn options(planned: &PlannedDelivery) -> String {
    let mut options = String::new();
    let mut add = |name: &str, value: &str| options.push_str(&format!(" {name} {value}"));
    match planned {
        PlannedDelivery::S3(planned) => {
            for (name, value) in [
                ("--endpoint", &planned.endpoint),
                ("--region", &planned.region),
                ("--proxy", &planned.proxy),
            ] {
                if let Some(value) = value {
                    add(name, value);
                }
            }
            // Else the environment of whoever goes on says it.
            if planned.endpoint.is_none() && planned.region.is_none() {
                add("--region", "us-east-1");
            }
            if planned.authorities.is_some() {
                add("--ca-cert", "FILE");
            }
        }
        PlannedDelivery::Sftp(planned) => {
            for key in &planned.host_keys {
                add("--host-key", key);
            }
            if let PlannedLogin::Key(_) = planned.login {
                add("--ssh-key", "FILE");
            }
            if planned.read_back {
                options.push_str(" --read-back");
            }
        }
    }
    options
}

fn credentials(planned: &PlannedS3) -> Credentials {
    let token = planned.session_token.as_ref().map(PlannedSecret::show);
    Credentials::new(&planned.access_key, planned.secret_key.show(), token)
}

fn s3(planned: &PlannedS3) -> S3Options {
    S3Options {
        endpoint: planned.endpoint.clone(),
        region: planned.region.clone(),
        authorities_text: planned.authorities.clone(),
        proxy: planned.proxy.clone(),
        proxy_login: planned.proxy_login.as_ref().map(secret),
        ..S3Options::default()
    }
}

fn sftp(planned: &PlannedSftp) -> SftpOptions {
    let (key_text, password) = match &planned.login {
        PlannedLogin::Key(key) => (Some(secret(key)), None),
        PlannedLogin::Password(password) => (None, Some(secret(password))),
    };
    SftpOptions {
        host_keys: planned.host_keys.clone(),
        key_text,
        password,
        read_back: planned.read_back,
        ..SftpOptions::default()
    }
}

fn secret(planned: &PlannedSecret) -> Secret {
    Secret::new(planned.show())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_aws(region: Option<&str>) -> PlannedDelivery {
        PlannedDelivery::S3(PlannedS3 {
            to: "s3://vault/case-42/".into(),
            endpoint: None,
            region: region.map(str::to_owned),
            authorities: None,
            proxy: None,
            proxy_login: None,
            access_key: "access".into(),
            secret_key: PlannedSecret::new("secret"),
            session_token: None,
        })
    }

    /// A rest's journal has the endpoint: `scelle deliver` goes on there only where it would reach the same one.
    #[test]
    fn a_plan_with_no_endpoint_is_reached_where_deliver_would() {
        for region in [None, Some("eu-west-3")] {
            let planned = store(&of_aws(region), "a.pgp").expect("sound");
            let address: Address = "s3://vault/case-42/a.pgp".parse().expect("sound");
            let usual = S3Options {
                region: region.map(str::to_owned),
                ..S3Options::default()
            };
            let credentials = Credentials::new("other", "other", None);
            let usual = S3::new(address, credentials, usual).expect("sound");
            assert_eq!(planned.endpoint(), usual.endpoint());
            assert_eq!(planned.name(), usual.name());
        }
    }

    #[test]
    fn each_run_has_a_file_of_its_own() {
        folder("s3://vault").expect("a bucket");
        folder("sftp://ana@host/~/").expect("a folder");
        let refused = folder("s3://vault/a.pgp").expect_err("a file").to_string();
        assert!(refused.contains("with a `/` at its end"), "{refused}");
    }

    #[test]
    fn how_to_go_on_is_said_without_secrets() {
        let planned = PlannedDelivery::Sftp(PlannedSftp {
            to: "sftp://ana@host/in/".into(),
            host_keys: vec!["SHA256:one".into(), "SHA256:two".into()],
            login: PlannedLogin::Password(PlannedSecret::new("hunter2")),
            read_back: false,
        });
        assert_eq!(
            options(&planned),
            " --host-key SHA256:one --host-key SHA256:two"
        );
        assert_eq!(
            way(&planned),
            "a server with the key SHA256:one or SHA256:two"
        );
        assert_eq!(options(&of_aws(Some("eu-west-3"))), " --region eu-west-3");
        assert!(!format!("{planned:?}").contains("hunter2"));
    }
}
