//! Many policies at once: alternatives in a policy's settings, all cores, and which of them are worth a look.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::report::PolicyReport;

/// So many policies are compared at most.
const MOST: usize = 100_000;

/// All policies that a text names: `tidemark:idle=30s|60s,floor=0|1` are four.
///
/// # Errors
/// They are too many.
pub fn alternatives(text: &str) -> Result<Vec<String>, String> {
    let Some((name, settings)) = text.split_once(':') else { return Ok(vec![text.to_owned()]) };
    let mut all = vec![String::new()];
    for setting in settings.split(',') {
        let (key, values) =
            setting.split_once('=').map_or((setting, None), |(key, values)| (key, Some(values)));
        let forms: Vec<String> = match values {
            None => vec![key.to_owned()],
            Some(values) => values.split('|').map(|value| format!("{key}={value}")).collect(),
        };
        if all.len().saturating_mul(forms.len()) > MOST {
            return Err(format!("more than {MOST} alternatives"));
        }
        let joined = |so_far: &String, form: &String| {
            if so_far.is_empty() { form.clone() } else { format!("{so_far},{form}") }
        };
        all = all.iter().flat_map(|so_far| forms.iter().map(|form| joined(so_far, form))).collect();
    }
    Ok(all.into_iter().map(|settings| format!("{name}:{settings}")).collect())
}

/// `work` of each number below `count`, in their order, on all cores.
pub fn on_all_cores<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(count);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let course = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            break;
        }
        let result = work(number);
        // A poisoned lock means that a thread panicked, which the scope passes on.
        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, result));
    };
    std::thread::scope(|scope| {
        for _ in 1..cores {
            scope.spawn(course);
        }
        course();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Those that no other one beats in both wait (p95) and cost, by their wait; of equal ones the first.
#[must_use]
pub fn unbeaten(policies: &[PolicyReport]) -> Vec<usize> {
    let of = |at: usize| {
        let median = |key| policies[at].number(key).map_or(0.0, |spread| spread.median);
        (median("wait_p95_s"), median("cost_over_busy"))
    };
    let mut order: Vec<usize> = (0..policies.len()).collect();
    order.sort_by(|a, b| {
        let ((wait_a, cost_a), (wait_b, cost_b)) = (of(*a), of(*b));
        wait_a.total_cmp(&wait_b).then(cost_a.total_cmp(&cost_b))
    });
    let mut least = f64::INFINITY;
    order.retain(|at| {
        let cheaper = of(*at).1 < least;
        least = least.min(of(*at).1);
        cheaper
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::trace::{Job, Trace};
    use crate::simulate::world::Course;

    #[test]
    fn alternatives_of_settings_are_policies() {
        assert_eq!(alternatives("keda").unwrap(), ["keda"]);
        assert_eq!(alternatives("tidemark:blind").unwrap(), ["tidemark:blind"]);
        assert_eq!(
            alternatives("tidemark:blind,idle=30s|60s,floor=0|1").unwrap(),
            [
                "tidemark:blind,idle=30s,floor=0",
                "tidemark:blind,idle=30s,floor=1",
                "tidemark:blind,idle=60s,floor=0",
                "tidemark:blind,idle=60s,floor=1",
            ]
        );
        let many = format!("tidemark:{}", ["floor=0|1|2|3|4|5|6|7|8|9"; 6].join(","));
        assert!(alternatives(&many).is_err());
    }

    #[test]
    fn all_of_the_work_is_done_in_its_order() {
        assert_eq!(on_all_cores(1000, |n| n * n), (0..1000).map(|n| n * n).collect::<Vec<_>>());
        assert!(on_all_cores(0, |n| n).is_empty());
    }

    #[test]
    fn what_another_one_beats_in_both_is_not_worth_a_look() {
        let trace = Trace::new(vec![Job { runnable_at: 0, duration: 100_000 }], Vec::new());
        let policy = |wait: i64, paid: i64| {
            let course = Course { waits: vec![wait], paid, ..Course::default() };
            PolicyReport::of("p", &trace, vec![course])
        };
        let policies =
            [policy(9, 100), policy(5, 110), policy(5, 105), policy(7, 120), policy(1, 300), policy(9, 100)];
        assert_eq!(unbeaten(&policies), [4, 2, 0]);
    }
}
