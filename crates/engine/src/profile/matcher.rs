//! Matches paths against all patterns of a profile at once.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::pattern::{Component, Glob, Pattern, StreamPattern, fold};

/// The number of a rule: of a pattern, in the order of the profile.
pub(crate) type RuleNumber = u32;

/// A trie of components. A path costs one look-up for each component and each place in the trie
/// that is still alive, which for most paths of a volume is none after the first one or two.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    names: HashMap<Vec<u8>, usize>,
    globs: Vec<(Glob, usize)>,
    /// The node behind a `**`, which stays alive on any component.
    deep: Option<usize>,
    is_deep: bool,
    ends: Vec<(RuleNumber, StreamPattern)>,
}

/// The rules that ask for some stream of an entry.
pub(crate) type Hits<'a> = SmallVec<[(RuleNumber, &'a StreamPattern); 4]>;

impl Matcher {
    pub(crate) fn new<'p>(rules: impl IntoIterator<Item = (RuleNumber, &'p Pattern)>) -> Self {
        let mut matcher = Self {
            nodes: vec![Node::default()],
        };
        for (rule, pattern) in rules {
            let mut at = 0;
            for component in &pattern.components {
                at = matcher.step(at, component);
            }
            matcher.nodes[at].ends.push((rule, pattern.stream.clone()));
        }
        matcher
    }

    fn step(&mut self, at: usize, component: &Component) -> usize {
        let known = match component {
            Component::Name(name) => self.nodes[at].names.get(name).copied(),
            Component::Glob(glob) => self.nodes[at]
                .globs
                .iter()
                .find_map(|(known, next)| (known == glob).then_some(*next)),
            Component::Deep if self.nodes[at].is_deep => Some(at),
            Component::Deep => self.nodes[at].deep,
        };
        if let Some(next) = known {
            return next;
        }
        let next = self.nodes.len();
        self.nodes.push(Node::default());
        match component {
            Component::Name(name) => {
                self.nodes[at].names.insert(name.clone(), next);
            }
            Component::Glob(glob) => self.nodes[at].globs.push((glob.clone(), next)),
            Component::Deep => {
                self.nodes[at].deep = Some(next);
                self.nodes[next].is_deep = true;
            }
        }
        next
    }

    /// Every rule whose path part fits, in the order of the profile.
    pub(crate) fn hits<'p>(&self, components: impl Iterator<Item = &'p [u8]>) -> Hits<'_> {
        let mut alive: SmallVec<[usize; 8]> = SmallVec::new();
        self.enter(&mut alive, 0);
        for component in components {
            let folded = fold(component);
            let mut next = SmallVec::new();
            for at in alive {
                let node = &self.nodes[at];
                if node.is_deep {
                    self.enter(&mut next, at);
                }
                if let Some(to) = node.names.get(&folded) {
                    self.enter(&mut next, *to);
                }
                for (glob, to) in &node.globs {
                    if glob.fits(&folded) {
                        self.enter(&mut next, *to);
                    }
                }
            }
            alive = next;
            if alive.is_empty() {
                return Hits::new();
            }
        }
        let mut hits: Hits<'_> = alive
            .iter()
            .flat_map(|at| self.nodes[*at].ends.iter())
            .map(|(rule, stream)| (*rule, stream))
            .collect();
        hits.sort_by_key(|(rule, _)| *rule);
        hits
    }

    /// Makes a node alive, and the one behind its `**`, which needs no component.
    fn enter(&self, alive: &mut SmallVec<[usize; 8]>, at: usize) {
        if !alive.contains(&at) {
            alive.push(at);
            if let Some(deep) = self.nodes[at].deep {
                self.enter(alive, deep);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str], path: &str) -> Vec<RuleNumber> {
        let patterns: Vec<_> = patterns
            .iter()
            .enumerate()
            .flat_map(|(rule, text)| {
                let parsed = Pattern::parse(text).expect("a sound pattern");
                parsed.into_iter().map(move |one| (rule as u32, one))
            })
            .collect();
        let matcher = Matcher::new(patterns.iter().map(|(rule, one)| (*rule, one)));
        let components = path.split('/').map(str::as_bytes);
        let mut found: Vec<_> = matcher.hits(components).iter().map(|hit| hit.0).collect();
        found.dedup();
        found
    }

    #[test]
    fn paths() {
        let patterns = [
            "Windows/System32/winevt/Logs/*.evtx",
            "%U/NTUSER.DAT{,.LOG1,.LOG2}",
            "Windows/Prefetch/",
            "**/*_history.txt",
            "**",
            "Users/**/Recent/**",
        ];
        for (path, expected) in [
            ("WINDOWS/system32/WinEvt/logs/Security.EVTX", vec![0, 4]),
            ("Users/Ana/NTUSER.dat.log1", vec![1, 4]),
            ("Users/Ana/deeper/NTUSER.DAT", vec![4]),
            ("windows/prefetch/a/b.pf", vec![2, 4]),
            ("windows/prefetcher/b.pf", vec![4]),
            ("ConsoleHost_history.txt", vec![3, 4]),
            ("x/y/z/ConsoleHost_history.txt", vec![3, 4]),
            ("Users/Ana/AppData/Recent/x.lnk", vec![4, 5]),
            (
                "Windows/ServiceProfiles/LocalService/NTUSER.DAT",
                vec![1, 4],
            ),
        ] {
            assert_eq!(rules(&patterns, path), expected, "{path}");
        }
    }
}
