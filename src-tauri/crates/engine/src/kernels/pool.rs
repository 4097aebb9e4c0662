//! One worker pool for all kernels: spin a little between jobs, park between answers.
//!
//! A job is a number of chunks and a function of the chunk index. Chunks are claimed one by one (a compare-and-swap on
//! `remaining`), and the caller waits for *claimed* chunks only. A worker that is asleep or descheduled is never waited
//! for unless it holds a chunk, so a loaded machine costs at most one chunk of time, not a barrier.
//! Which thread runs a chunk never changes a result: kernels write disjoint outputs and reduce inside one chunk only.
use super::KernelError;
use super::bytes::{AlignedBytes, Arena};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Polls before a worker parks: about 50 µs (a `pause` takes 40 to 140 cycles), longer than the serial gaps inside a token.
/// Offering the core instead (`yield_now` between polls) was measured with twenty other processes on two cores: 10 to 26% less
/// processor time at 0.5 to 0.9 of the speed, because a worker that offers its core there is away for as long as they like.
const SPINS_BEFORE_PARK: u32 = 2_000;
/// Polls before the waiting caller gives its core to a descheduled worker.
const SPINS_BEFORE_YIELD: u32 = 10_000;

type Task = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// Chunks not yet claimed. Claiming is `r -> r - 1`, and gives chunk `chunks - r`.
    remaining: AtomicUsize,
    /// Chunks completed.
    done: AtomicUsize,
    job: UnsafeCell<(Option<Task>, usize)>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    quit: AtomicBool,
    parked: Vec<AtomicBool>,
}

// SAFETY: `job` is written only by the submitter (who holds `Pool::submit`) while `remaining == 0` and every claimed chunk
// is done, and read only by threads that hold a claimed chunk; the release store / acquire CAS on `remaining` orders both.
unsafe impl Sync for Shared {}
// SAFETY: the raw task pointer is only followed while its job is alive (see `Pool::run`).
unsafe impl Send for Shared {}

thread_local! {
    static INSIDE_JOB: Cell<bool> = const { Cell::new(false) };
}

impl Shared {
    /// Claims and runs chunks until none is left.
    fn drain(&self) {
        while let Some(left) = self.claim() {
            // SAFETY: this thread holds an uncompleted chunk, so the submitter is still waiting in `run`, and the job with the
            // closure it points to stays as it is until `done` below is incremented.
            let (task, chunks) = unsafe { *self.job.get() };
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if let Some(task) = task {
                    // SAFETY: as above; the pointee outlives the claimed chunk.
                    unsafe { (*task)(chunks - left) };
                }
            }));
            if let Err(payload) = outcome {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }

    fn claim(&self) -> Option<usize> {
        let mut left = self.remaining.load(Ordering::Relaxed);
        while left > 0 {
            match self.remaining.compare_exchange_weak(left, left - 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(left),
                Err(now) => left = now,
            }
        }
        None
    }

    fn has_news(&self) -> bool {
        self.remaining.load(Ordering::SeqCst) > 0 || self.quit.load(Ordering::SeqCst)
    }

    fn work(&self, index: usize) {
        INSIDE_JOB.with(|inside| inside.set(true));
        while !self.quit.load(Ordering::Acquire) {
            self.drain();
            self.wait(index);
        }
    }

    fn wait(&self, index: usize) {
        for _ in 0..SPINS_BEFORE_PARK {
            if self.has_news() {
                return;
            }
            std::hint::spin_loop();
        }
        self.parked[index].store(true, Ordering::SeqCst);
        // The flag is set before this last look, and the submitter looks at the flag after publishing: one of them sees the other.
        while self.parked[index].load(Ordering::SeqCst) && !self.has_news() {
            std::thread::park();
        }
        self.parked[index].store(false, Ordering::SeqCst);
    }
}

/// A fixed set of threads, the caller included. `Pool::new(1)` starts none.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    submit: Mutex<()>,
    /// Where the weights that this pool packs are put.
    arena: Mutex<Arena>,
}

impl Pool {
    /// `threads` counts the caller; 0 is taken as 1. If the system refuses a thread, the pool is that much smaller.
    pub fn new(threads: usize) -> Pool {
        let wanted = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            remaining: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            job: UnsafeCell::new((None, 0)),
            panic: Mutex::new(None),
            quit: AtomicBool::new(false),
            parked: (0..wanted).map(|_| AtomicBool::new(false)).collect(),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("kernel-{}", index + 1));
            builder.spawn(move || shared.work(index)).ok()
        };
        let workers = (0..wanted).map_while(spawn).collect();
        Pool { shared, workers, submit: Mutex::new(()), arena: Mutex::default() }
    }

    /// Threads that work on a job, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Workers that sleep.
    #[cfg(test)]
    pub(super) fn parked(&self) -> usize {
        self.shared.parked.iter().filter(|parked| parked.load(Ordering::SeqCst)).count()
    }

    /// Zeroed memory for weights.
    pub(super) fn memory(&self, len: usize) -> Result<AlignedBytes, KernelError> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner).take(len)
    }

    /// Calls `task(0) .. task(chunks - 1)`, each once, on any of the threads, and returns when all are done.
    /// A nested call runs on the thread it is made from. A panic in a chunk is raised again here, after the others are done.
    pub fn run(&self, chunks: usize, task: impl Fn(usize) + Sync) {
        if self.workers.is_empty() || chunks <= 1 || INSIDE_JOB.with(Cell::get) {
            (0..chunks).for_each(task);
            return;
        }
        let _one_job_at_a_time = self.submit.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish(chunks, &task);
        INSIDE_JOB.with(|inside| inside.set(true));
        self.shared.drain();
        INSIDE_JOB.with(|inside| inside.set(false));
        self.wait_for_claimed(chunks);
        let panic = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    fn publish(&self, chunks: usize, task: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime is erased; `run` does not return (and `drain` does not unwind) before all chunks are done.
        let task: Task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task) };
        shared.done.store(0, Ordering::Relaxed);
        // SAFETY: the previous job is complete and `remaining` is 0, so no other thread reads `job` now.
        unsafe { *shared.job.get() = (Some(task), chunks) };
        shared.remaining.store(chunks, Ordering::SeqCst);
        for (parked, worker) in shared.parked.iter().zip(&self.workers) {
            if parked.swap(false, Ordering::SeqCst) {
                Thread::unpark(worker.thread());
            }
        }
    }

    fn wait_for_claimed(&self, chunks: usize) {
        let mut polls = 0u32;
        while self.shared.done.load(Ordering::Acquire) < chunks {
            polls = polls.saturating_add(1);
            if polls < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Splits `data` into runs of `len` (the last may be shorter) and calls `task(index, run)` on each in parallel.
    pub fn run_mut<T: Send>(&self, data: &mut [T], len: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        let len = len.max(1);
        let total = data.len();
        let out = Disjoint::new(data);
        self.run(total.div_ceil(len), |i| {
            let start = i * len;
            // SAFETY: chunk i alone takes [i*len, (i+1)*len), and each chunk runs once.
            task(i, unsafe { out.slice(start, len.min(total - start)) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            let _ = worker.join();
        }
    }
}

/// A mutable slice that several chunks write at once, each its own part.
pub(super) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose contract forbids overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(super) fn new(data: &'a mut [T]) -> Self {
        Disjoint { start: data.as_mut_ptr(), len: data.len(), owner: PhantomData }
    }

    /// Where `span` values from `offset` begin, for writing some of them (in rows that are not one slice).
    #[cfg(target_arch = "x86_64")]
    pub(super) fn pointer(&self, offset: usize, span: usize) -> *mut T {
        assert!(offset <= self.len && span <= self.len - offset);
        self.start.wrapping_add(offset)
    }

    /// # Safety
    /// No two live slices may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, offset: usize, len: usize) -> &mut [T] {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: inside the borrowed slice (asserted); not aliased (the caller's promise).
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }
}
