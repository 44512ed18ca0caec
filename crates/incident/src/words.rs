//! What is said to people, in French and English.

use std::str::FromStr;

/// A language that records are rendered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// French.
    French,
    /// English.
    English,
}

impl Language {
    /// Its ISO 639-1 code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::French => "fr",
            Self::English => "en",
        }
    }

    /// A colon as the language sets it.
    #[cfg(feature = "render")]
    pub(crate) const fn colon(self) -> &'static str {
        match self {
            Self::French => "\u{A0}: ",
            Self::English => ": ",
        }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "fr" | "french" | "français" | "francais" => Ok(Self::French),
            "en" | "english" | "anglais" => Ok(Self::English),
            _ => Err(format!(
                "{text:?} is not a language of this program: use fr or en"
            )),
        }
    }
}

macro_rules! phrases {
    ($($(#[$doc:meta])* $name:ident: $french:literal, $english:literal;)+) => {
        /// Something that is said; `{}` stands for what was found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(not(feature = "render"), expect(dead_code, reason = "headings are for renderings"))]
        pub(crate) enum Phrase {
            $($(#[$doc])* $name,)+
        }

        impl Phrase {
            /// The words.
            pub(crate) const fn in_language(self, language: Language) -> &'static str {
                match (self, language) {
                    $(
                        (Self::$name, Language::French) => $french,
                        (Self::$name, Language::English) => $english,
                    )+
                }
            }
        }
    };
}

phrases! {
    // Gaps.
    AskId: "Donnez un numéro à l’incident, tel que l’équipe qui le suit le compte (par exemple 2026-0042).",
        "Give the incident a number, as the team that handles it counts (for example 2026-0042).";
    AskTeam: "Indiquez l’équipe qui a donné ce numéro (par exemple CERT Exemple).",
        "Name the team that gave that number (for example CERT Example).";
    AskLabel: "Choisissez une étiquette TLP\u{A0}: TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT ou TLP:RED. Elle dit avec qui ce rapport peut être partagé.",
        "Choose a TLP label: TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT or TLP:RED. It says with whom this report may be shared.";
    BadLabel: "«\u{A0}{}\u{A0}» n’est pas une étiquette TLP 2.0\u{A0}: utilisez TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT ou TLP:RED.",
        "\"{}\" is not a TLP 2.0 label: use TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT or TLP:RED.";
    AskDetected: "Indiquez quand l’incident a été remarqué\u{A0}: date, heure et fuseau horaire, par exemple 2026-11-20T14:03:00+01:00.",
        "Say when the incident was noticed: date, time and time zone, for example 2026-11-20T14:03:00+01:00.";
    AskZone: "L’heure «\u{A0}{}\u{A0}» n’a pas de fuseau horaire\u{A0}: ajoutez +01:00 (Paris en hiver), +02:00 (Paris en été) ou Z (temps universel).",
        "The time \"{}\" has no time zone: add Z (universal time), +01:00 (Paris in winter), +02:00 (Paris in summer), or your own.";
    AskTimeOfDay: "«\u{A0}{}\u{A0}» est une date sans heure\u{A0}: ajoutez l’heure et le fuseau horaire, même approximatifs, par exemple 2026-11-20T14:00:00+01:00.",
        "\"{}\" is a date without a time: add the time and its time zone, even if only roughly, for example 2026-11-20T14:00:00+01:00.";
    BadTime: "«\u{A0}{}\u{A0}» n’est ni une date ni une heure lisible\u{A0}: écrivez par exemple 2026-11-20T14:03:00+01:00.",
        "\"{}\" is not a date and time that can be read: write for example 2026-11-20T14:03:00+01:00.";
    EndsBeforeStart: "La fin de l’incident est avant son début\u{A0}: vérifiez les deux heures et leurs fuseaux.",
        "The incident ends before it starts: check both times and their time zones.";
    AskContacts: "Indiquez au moins une personne à contacter, avec son adresse électronique ou son numéro de téléphone.",
        "Name at least one person to contact, with a mail address or a telephone number.";
    AskContactName: "Donnez le nom de cette personne ou de cette équipe.",
        "Give the name of this person or team.";
    AskContactWay: "Donnez une adresse électronique ou un numéro de téléphone pour joindre cette personne.",
        "Give a mail address or a telephone number at which this person can be reached.";
    BadEmail: "«\u{A0}{}\u{A0}» n’est pas une adresse électronique.", "\"{}\" is not a mail address.";
    BadFingerprint: "«\u{A0}{}\u{A0}» n’est pas une empreinte OpenPGP complète\u{A0}: elle a 40 (ou 64) chiffres hexadécimaux\u{A0}; les identifiants courts ne sont pas acceptés.",
        "\"{}\" is not a full OpenPGP fingerprint: it has 40 (or 64) hexadecimal digits; short key ids are not accepted.";
    AskTitle: "Résumez l’incident en une ligne.", "Sum up the incident in one line.";
    AskDescription: "Décrivez le contexte et ce qui s’est passé\u{A0}: ce qui a été vu, par qui, sur quelles machines, ce qui a été fait depuis.",
        "Describe the context and what happened: what was seen, by whom, on which machines, what has been done since.";
    AskImpact: "Estimez l’impact\u{A0}: services arrêtés, données touchées, personnes concernées. Une première estimation suffit.",
        "Estimate the impact: services that are down, data that are touched, people concerned. A first estimate will do.";
    AskSeverity: "Indiquez la gravité estimée\u{A0}: low (le travail continue), medium (il est gêné) ou high (il est arrêté, ou des données sont perdues ou divulguées).",
        "Say how severe it seems: low (work goes on), medium (it is hindered) or high (it has stopped, or data are lost or disclosed).";
    AskIndicators: "Listez ce qui a déjà été observé (adresses IP sources, destinations, ports, protocoles, noms de domaine, fichiers), ou dites dans no_indicators pourquoi il n’y a rien.",
        "List what has already been seen (source IP addresses, destinations, ports, protocols, domain names, files), or say in no_indicators why there is nothing.";
    EmptyIndicator: "Cet indicateur ne contient ni adresse, ni nom, ni fichier\u{A0}: complétez-le ou retirez-le.",
        "This indicator has neither an address, nor a name, nor a file: complete or remove it.";
    AskSource: "Indiquez l’adresse IP (ou le nom) d’où venait la connexion.",
        "Give the IP address (or name) that the connection came from.";
    AskDestination: "Indiquez l’adresse IP (ou le nom) vers laquelle allait la connexion.",
        "Give the IP address (or name) that the connection went to.";
    BadHost: "«\u{A0}{}\u{A0}» n’est ni une adresse IP ni un nom de machine.",
        "\"{}\" is neither an IP address nor a host name.";
    AskProtocol: "Indiquez le protocole\u{A0}: tcp, udp, icmp, https, …",
        "Give the protocol: tcp, udp, icmp, https, …";
    BadProtocol: "«\u{A0}{}\u{A0}» n’est pas un protocole connu\u{A0}: écrivez tcp, udp, icmp, https, … ou son numéro IANA.",
        "\"{}\" is not a known protocol: write tcp, udp, icmp, https, … or its IANA number.";
    AskPort: "Indiquez le port de destination (par exemple 443).",
        "Give the destination port (for example 443).";
    BadHash: "«\u{A0}{}\u{A0}» n’est pas une empreinte de fichier\u{A0}: MD5, SHA-1, SHA-256 ou SHA-512 en chiffres hexadécimaux.",
        "\"{}\" is not a file's hash: MD5, SHA-1, SHA-256 or SHA-512 in hexadecimal digits.";

    // Headings and labels of renderings.
    Report: "Rapport d’incident", "Incident report";
    Missing: "Éléments manquants", "Missing elements";
    MissingIntro: "Ce rapport est incomplet. Il manque\u{A0}:", "This report is incomplete. Missing are:";
    Summary: "Résumé", "Summary";
    Number: "Numéro", "Number";
    Team: "Équipe", "Team";
    Label: "Étiquette", "Label";
    LabelLowered: "Étiquette abaissée depuis", "Label lowered from";
    StatusLabel: "État", "Status";
    Chronology: "Dates et heures", "Dates and times";
    Detected: "Remarqué", "Noticed";
    Started: "Début", "Started";
    Ended: "Fin", "Ended";
    Reported: "Signalé", "Reported";
    Event: "Événement", "Event";
    AsWritten: "Heure indiquée", "Time as given";
    InUtc: "Temps universel (UTC)", "Universal time (UTC)";
    InZone: "Fuseau de l’équipe", "The team's zone";
    Contacts: "Personnes à contacter", "People to contact";
    Name: "Nom", "Name";
    Role: "Rôle", "Role";
    Organization: "Organisme", "Organisation";
    Email: "Adresse électronique", "Mail";
    Phone: "Téléphone", "Telephone";
    Hours: "Joignable", "Hours";
    Fingerprint: "Empreinte OpenPGP", "OpenPGP fingerprint";
    ContextHeading: "Contexte et description", "Context and description";
    Perimeter: "Périmètre", "Perimeter";
    Systems: "Machines concernées", "Machines concerned";
    ImpactHeading: "Impact estimé", "Estimated impact";
    SeverityLabel: "Gravité", "Severity";
    IndicatorsHeading: "Indicateurs observés", "Indicators seen";
    Seen: "Vu", "Seen";
    Source: "Source", "Source";
    Destination: "Destination", "Destination";
    Protocol: "Protocole", "Protocol";
    Kind: "Nature", "Kind";
    Value: "Valeur", "Value";
    Note: "Remarque", "Note";
    NoIndicators: "Aucun indicateur", "No indicator";
    Domain: "Nom de domaine", "Domain name";
    Url: "Adresse web", "Web address";
    File: "Fichier", "File";
    Hash: "Empreinte de fichier", "File hash";
    Low: "faible", "low";
    Medium: "moyenne", "medium";
    High: "élevée", "high";
    New: "nouveau", "new";
    InProgress: "en cours", "in progress";
    Forwarded: "transmis", "forwarded";
    Resolved: "résolu", "resolved";
    Reporter: "déclarant", "reporter";
    Creator: "rédacteur", "author";
    Admin: "administrateur", "administrator";
    Tech: "contact technique", "technical contact";
    Victim: "victime", "victim";
    Irt: "équipe de réponse", "response team";
    Legal: "contact juridique", "legal contact";
    Page: "page", "page";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_named_by_their_codes() {
        for language in [Language::French, Language::English] {
            assert_eq!(language.code().parse(), Ok(language));
        }
        assert!("de".parse::<Language>().is_err());
    }
}
