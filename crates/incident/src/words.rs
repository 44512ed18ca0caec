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
    // Files that are no record.
    Place: "ligne {}, colonne {}\u{A0}: ", "line {}, column {}: ";
    UnknownElement: "«\u{A0}{}\u{A0}» n’est pas un élément d’un rapport d’incident\u{A0}: corrigez son nom (scelle incident new les montre tous) ou retirez la ligne.",
        "\"{}\" is not an element of an incident record: correct its name (scelle incident new shows them all) or remove the line.";
    TwiceElement: "cet élément figure déjà plus haut\u{A0}: n’en gardez qu’un.",
        "this element is there already, further up: keep one of them.";
    OddValue: "cette valeur n’a pas la forme attendue\u{A0}: un texte va entre guillemets, une liste de textes entre crochets, une date sans rien autour.",
        "this value does not have the form that is expected: a text goes between quotes, a list of texts between brackets, a date as it is.";
    BadSyntax: "cette ligne n’est pas lisible\u{A0}: écrivez nom = \"valeur\", avec un guillemet à chaque bout\u{A0}; un chemin Windows va entre apostrophes ('C:\\Temp'), et une date s’écrit 2026-11-20T14:03:00+01:00.",
        "this line can't be read: write name = \"value\", with a quote at each end; a Windows path goes between single quotes ('C:\\Temp'), and a date is written 2026-11-20T14:03:00+01:00.";
    NotText: "Ce fichier n’est pas un texte en UTF-8\u{A0}: enregistrez-le comme tel. {}",
        "This file is no text in UTF-8: save it as such. {}";
    NotSealed: "Ce fichier ne se lit pas comme un rapport d’incident scellé (JSON), tel que ce programme l’écrit. {}",
        "This file can't be read as a sealed incident record (JSON), as this program writes it. {}";
    NewerFormat: "Ce rapport a le format {}, que cette version ne connaît pas encore\u{A0}: utilisez une version plus récente.",
        "This record has format {}, which this version does not know yet: use a newer version.";

    // Gaps.
    AskId: "Donnez le numéro que l’équipe chargée de l’incident lui a attribué (par exemple 2026-0042).",
        "Give the number that the team handling the incident assigned to it (for example 2026-0042).";
    AskTeam: "Indiquez l’équipe qui a attribué ce numéro (par exemple CERT Exemple).",
        "Name the team that assigned this number (for example CERT Example).";
    AskLabel: "Choisissez un marquage TLP\u{A0}: TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT ou TLP:RED. Il dit avec qui ce rapport peut être partagé.",
        "Choose a TLP label: TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT or TLP:RED. It says with whom this report may be shared.";
    BadLabel: "«\u{A0}{}\u{A0}» n’est pas un marquage TLP 2.0\u{A0}: utilisez TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT ou TLP:RED.",
        "\"{}\" is not a TLP 2.0 label: use TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT or TLP:RED.";
    BadStatus: "«\u{A0}{}\u{A0}» n’est pas un état connu\u{A0}: écrivez new (nouveau), in-progress (en cours), forwarded (transmis) ou resolved (résolu).",
        "\"{}\" is not a known status: write new, in-progress, forwarded or resolved.";
    AskDetected: "Indiquez quand l’incident a été détecté\u{A0}: date, heure et fuseau horaire, par exemple 2026-11-20T14:03:00+01:00.",
        "Say when the incident was detected: date, time and time zone, for example 2026-11-20T14:03:00+01:00.";
    AskZone: "L’heure «\u{A0}{}\u{A0}» n’a pas de fuseau horaire\u{A0}: ajoutez +01:00 (Paris en hiver), +02:00 (Paris en été) ou Z (temps universel).",
        "The time \"{}\" has no time zone: add Z (universal time), +01:00 (Paris in winter), +02:00 (Paris in summer), or your own.";
    AskTimeOfDay: "«\u{A0}{}\u{A0}» est une date sans heure\u{A0}: ajoutez l’heure, même approximative, et le fuseau horaire, par exemple 2026-11-20T14:00:00+01:00.",
        "\"{}\" is a date without a time: add the time, even a rough one, and its time zone, for example 2026-11-20T14:00:00+01:00.";
    BadTime: "«\u{A0}{}\u{A0}» n’est ni une date ni une heure lisible\u{A0}: écrivez par exemple 2026-11-20T14:03:00+01:00.",
        "\"{}\" is not a date and time that can be read: write for example 2026-11-20T14:03:00+01:00.";
    EndsBeforeStart: "La fin de l’incident est avant son début\u{A0}: vérifiez les deux heures et leurs fuseaux.",
        "The incident ends before it starts: check both times and their time zones.";
    AskContacts: "Indiquez au moins une personne à contacter, avec son adresse électronique ou son numéro de téléphone.",
        "Name at least one person to contact, with an email address or a phone number.";
    AskContactName: "Donnez le nom de cette personne ou de cette équipe.",
        "Give the name of this person or team.";
    AskContactWay: "Donnez une adresse électronique ou un numéro de téléphone pour joindre cette personne.",
        "Give an email address or a phone number at which this person can be reached.";
    BadEmail: "«\u{A0}{}\u{A0}» n’est pas une adresse électronique.", "\"{}\" is not an email address.";
    BadRole: "«\u{A0}{}\u{A0}» n’est pas un rôle connu\u{A0}: écrivez reporter (déclarant), creator (rédacteur), admin, tech, victim (victime), irt (équipe de réponse) ou legal (juridique).",
        "\"{}\" is not a known role: write reporter, creator, admin, tech, victim, irt or legal.";
    BadFingerprint: "«\u{A0}{}\u{A0}» n’est pas une empreinte OpenPGP complète\u{A0}: elle a 40 (ou 64) chiffres hexadécimaux\u{A0}; les identifiants courts ne sont pas acceptés.",
        "\"{}\" is not a full OpenPGP fingerprint: it has 40 (or 64) hexadecimal digits; short key ids are not accepted.";
    AskTitle: "Résumez l’incident en une ligne.", "Sum up the incident in one line.";
    AskDescription: "Décrivez le contexte et ce qui s’est passé\u{A0}: ce qui a été vu, par qui, sur quelles machines, ce qui a été fait depuis.",
        "Describe the context and what happened: what was seen, by whom, on which machines, what has been done since.";
    AskImpact: "Estimez l’impact\u{A0}: services arrêtés, données touchées, personnes concernées. Une première estimation suffit.",
        "Estimate the impact: services that are down, data and number of people affected. A first estimate will do.";
    AskSeverity: "Indiquez la gravité estimée\u{A0}: low (le travail continue), medium (il est gêné) ou high (il est arrêté, ou des données sont perdues ou divulguées).",
        "Say how severe it seems: low (work goes on), medium (it is hindered) or high (it has stopped, or data are lost or disclosed).";
    BadSeverity: "«\u{A0}{}\u{A0}» n’est pas une gravité connue\u{A0}: écrivez low (faible\u{A0}: le travail continue), medium (moyenne\u{A0}: il est gêné) ou high (élevée\u{A0}: il est arrêté, ou des données sont perdues ou divulguées).",
        "\"{}\" is not a known severity: write low (work goes on), medium (it is hindered) or high (it has stopped, or data are lost or disclosed).";
    AskIndicators: "Listez ce qui a déjà été observé (adresses IP sources, destinations, ports, protocoles, noms de domaine, fichiers), ou dites dans no_indicators, en tête du fichier, pourquoi il n’y a rien.",
        "List what has already been seen (source IP addresses, destinations, ports, protocols, domain names, files), or say in no_indicators, at the top of the file, why there is nothing.";
    BothIndicators: "Des indicateurs sont listés\u{A0}: videz no_indicators, ou retirez-les.",
        "Indicators are listed: empty no_indicators, or remove them.";
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
    BadProtocol: "«\u{A0}{}\u{A0}» n’est pas un protocole connu ici\u{A0}: écrivez celui qui le porte (tcp ou udp) ou son numéro IANA, et son nom dans note.",
        "\"{}\" is not a protocol that is known here: write the one that carries it (tcp or udp) or its IANA number, and its name in note.";
    AskPort: "Indiquez le port de destination (par exemple 443).",
        "Give the destination port (for example 443).";
    BadPort: "«\u{A0}{}\u{A0}» n’est pas un numéro de port\u{A0}: écrivez un seul nombre, de 0 à 65535, par exemple 443.",
        "\"{}\" is not a port number: write a single number from 0 to 65535, for example 443.";
    BadHash: "«\u{A0}{}\u{A0}» n’est pas le condensat d’un fichier\u{A0}: MD5, SHA-1, SHA-256 ou SHA-512 en chiffres hexadécimaux.",
        "\"{}\" is not a file's hash: MD5, SHA-1, SHA-256 or SHA-512 in hexadecimal digits.";

    // Headings and labels of renderings.
    Report: "Rapport d’incident", "Incident report";
    Missing: "Éléments manquants", "Missing elements";
    MissingIntro: "Ce rapport est incomplet. Il manque\u{A0}:", "This report is incomplete. Missing:";
    Summary: "Résumé", "Summary";
    Number: "Numéro", "Incident number";
    Team: "Équipe", "Team";
    Label: "Marquage TLP", "TLP label";
    LabelLowered: "Marquage TLP abaissé", "TLP label lowered";
    LabelBefore: "auparavant", "from";
    StatusLabel: "État", "Status";
    Chronology: "Dates et heures", "Dates and times";
    Detected: "Détecté", "Detected";
    Started: "Début", "Started";
    Ended: "Fin", "Ended";
    Reported: "Signalé", "Reported";
    Event: "Événement", "Event";
    AsWritten: "Heure indiquée", "Time as given";
    InUtc: "Heure UTC", "UTC";
    InZone: "Heure de l’équipe", "Team's local time";
    Contacts: "Points de contact", "Contacts";
    Unnamed: "(sans nom)", "(no name)";
    Role: "Rôle", "Role";
    Organization: "Organisme", "Organisation";
    Email: "Adresse électronique", "Email";
    Phone: "Téléphone", "Phone";
    Hours: "Horaires", "Hours";
    Fingerprint: "Empreinte OpenPGP", "OpenPGP fingerprint";
    ContextHeading: "Contexte et description", "Context and description";
    Perimeter: "Périmètre", "Scope";
    Systems: "Systèmes concernés", "Affected systems";
    ImpactHeading: "Impact estimé", "Estimated impact";
    SeverityLabel: "Gravité", "Severity";
    IndicatorsHeading: "Indicateurs observés", "Observed indicators";
    Seen: "Observé", "Seen";
    Source: "Source", "Source";
    Destination: "Destination", "Destination";
    Protocol: "Protocole", "Protocol";
    Kind: "Type", "Type";
    Value: "Valeur", "Value";
    Note: "Commentaire", "Comment";
    NoIndicators: "Aucun indicateur", "No indicators";
    Domain: "Nom de domaine", "Domain name";
    Url: "URL", "URL";
    File: "Fichier", "File";
    Hash: "Condensat (hash)", "File hash";
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
