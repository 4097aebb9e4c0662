//! The pool: every chunk once, panics passed on, threads parked.
use super::super::Pool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_chunk_runs_exactly_once() {
    for threads in [0, 1, 2, 5] {
        let pool = Pool::new(threads);
        for chunks in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(chunks, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts.iter().all(|c| c.load(Ordering::Relaxed) == 1),
                "{threads} threads, {chunks} chunks"
            );
        }
    }
}

#[test]
fn idle_workers_park_and_the_next_job_wakes_them() {
    let pool = Pool::new(3);
    for _ in 0..20 {
        // Ends only if the workers stop spinning by themselves.
        while pool.parked() < 2 {
            std::thread::yield_now();
        }
        // Each chunk waits for the two others: it ends only if every thread came.
        let started = AtomicUsize::new(0);
        pool.run(3, |_| {
            started.fetch_add(1, Ordering::SeqCst);
            while started.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
        });
    }
}

#[test]
fn many_small_jobs_and_parked_workers_lose_no_chunk() {
    let pool = Pool::new(3);
    let sum = AtomicUsize::new(0);
    for job in 0..20_000 {
        pool.run(4, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        if job % 4_000 == 0 {
            // Long enough for the workers to park.
            (0..2_000_000).for_each(|_| std::hint::spin_loop());
        }
    }
    assert_eq!(sum.load(Ordering::Relaxed), 20_000 * 6);
}

#[test]
fn a_panic_in_a_chunk_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(2);
    let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, |i| assert_ne!(i, 5, "chunk five"))));
    assert!(outcome.is_err());
    let ran = AtomicUsize::new(0);
    pool.run(8, |_| {
        ran.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(ran.load(Ordering::Relaxed), 8);
}

#[test]
fn a_nested_run_and_two_callers_at_once_complete() {
    let pool = Pool::new(3);
    let ran = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(3, |_| {
                        pool.run(2, |_| {
                            ran.fetch_add(1, Ordering::Relaxed);
                        })
                    });
                }
            });
        }
    });
    assert_eq!(ran.load(Ordering::Relaxed), 2 * 200 * 6);
}

#[test]
fn run_mut_hands_out_every_element_once() {
    let pool = Pool::new(2);
    let mut data = vec![0usize; 1003];
    pool.run_mut(&mut data, 10, |chunk, part| {
        for (i, v) in part.iter_mut().enumerate() {
            *v += chunk * 10 + i + 1;
        }
    });
    assert!(data.iter().enumerate().all(|(i, v)| *v == i + 1));
}
