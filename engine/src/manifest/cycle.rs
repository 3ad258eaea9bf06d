//! Owns: cyclic dependencies. It knows only which stages depend on each other.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    source::Span,
};

/// Reports cycles; `edges` contains, for each stage, its dependencies and where they are written.
///
/// Depth first, without recursion: a chain of dependencies may be as long as the manifest.
pub(crate) fn report_cycles(edges: &[&[(usize, Span)]], name: impl Fn(usize) -> String, faults: &mut Faults) {
    let mut seen = vec![false; edges.len()];
    let mut open = vec![None; edges.len()]; // the stage's position on the path
    for root in 0..edges.len() {
        let mut path: Vec<(usize, usize)> = vec![]; // stage, number of its dependencies visited
        let mut next = Some(root);
        loop {
            if let Some(stage) = next.take().filter(|stage| !std::mem::replace(&mut seen[*stage], true)) {
                open[stage] = Some(path.len());
                path.push((stage, 0));
            }
            let Some((stage, walked)) = path.last_mut() else { break };
            match edges[*stage].get(*walked) {
                None => {
                    open[*stage] = None;
                    path.pop();
                }
                Some((needed, _)) => {
                    *walked += 1;
                    next = Some(*needed);
                    if let Some(from) = open[*needed].filter(|_| !faults.is_full()) {
                        faults.push(cycle(edges, &name, &path[from..]));
                    }
                }
            }
        }
    }
}

/// Names the whole cycle, and labels its first edges.
fn cycle(edges: &[&[(usize, Span)]], name: &impl Fn(usize) -> String, path: &[(usize, usize)]) -> Fault {
    const NAMED_MAX: usize = 40;
    const DRAWN_MAX: usize = 8;
    let mut way: Vec<String> = path.iter().take(NAMED_MAX).map(|(stage, _)| name(*stage)).collect();
    if path.len() > NAMED_MAX {
        way.push(format!("… ({} more)", path.len() - NAMED_MAX));
    }
    way.extend(path.first().map(|(stage, _)| name(*stage)));
    let message = match path.len() {
        1 => format!("a stage depends on itself: {}", way.join(" -> ")),
        _ => format!("circular dependency: {}", way.join(" -> ")),
    };
    let steps = path.iter().take(DRAWN_MAX).map(|(stage, walked)| {
        let (needed, place) = edges[*stage][walked - 1];
        (place, format!("`{}` needs `{}`", name(*stage), name(needed)))
    });
    steps.fold(Fault::new(Code::Cycle, message, ""), |fault, (place, step)| fault.also(place, step))
}
