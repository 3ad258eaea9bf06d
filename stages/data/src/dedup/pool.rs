//! Limits the number of open files. Nothing here depends on their content.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

/// Files of which a bounded number is open at a time; the least recently read one is closed.
#[derive(Debug, Clone)]
pub struct FilePool {
    open: Rc<RefCell<Vec<Open>>>,
    open_max: usize,
}

/// An open file, by its path; the most recently read one is last.
#[derive(Debug)]
struct Open {
    path: Rc<PathBuf>,
    file: File,
}

impl Default for FilePool {
    /// Small enough for the lowest common limits, large enough that files of a small corpus are opened once.
    fn default() -> Self {
        Self::new(64)
    }
}

impl FilePool {
    /// A pool that holds at most `open_max` files open, at least one.
    pub fn new(open_max: usize) -> Self {
        Self { open: Rc::default(), open_max: open_max.max(1) }
    }

    /// A file of this pool, which is opened when it is read.
    pub fn file(&self, path: PathBuf) -> PooledFile {
        PooledFile { path: Rc::new(path), pool: self.clone() }
    }

    /// Number of open files.
    pub fn open(&self) -> usize {
        self.open.borrow().len()
    }
}

/// A file of a [`FilePool`].
#[derive(Debug, Clone)]
pub struct PooledFile {
    path: Rc<PathBuf>,
    pool: FilePool,
}

impl PooledFile {
    /// Size of the file in bytes.
    pub fn size(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.metadata()?.len()))
    }

    /// Fills `buffer` from the file, starting at byte `at`.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.with(|file| file.read_exact_at(buffer, at))
    }

    fn with<T>(&self, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let mut open = self.pool.open.borrow_mut();
        match open.iter().rposition(|open| Rc::ptr_eq(&open.path, &self.path)) {
            Some(at) => open[at..].rotate_left(1),
            None => {
                if open.len() >= self.pool.open_max {
                    open.remove(0);
                }
                open.push(Open { path: Rc::clone(&self.path), file: File::open(&*self.path)? });
            }
        }
        read(&open.last().expect("invariant: a file was just put there").file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_files_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let pool = FilePool::new(3);
        let files: Vec<PooledFile> = (0..10_u8)
            .map(|n| {
                let path = folder.path().join(n.to_string());
                std::fs::write(&path, [n; 4]).unwrap();
                pool.file(path)
            })
            .collect();
        assert_eq!(pool.open(), 0);
        for n in (0..10).chain([9, 0, 9, 1, 9, 2]) {
            let mut bytes = [0; 2];
            files[n].read_exact_at(&mut bytes, 1).unwrap();
            assert_eq!(bytes, [n as u8; 2]);
            assert_eq!(files[n].size().unwrap(), 4);
            assert!(pool.open() <= 3);
        }
        // The most recently read files are still open after their removal.
        std::fs::remove_dir_all(folder.path()).unwrap();
        for n in [2, 9, 1] {
            files[n].read_exact_at(&mut [0], 0).unwrap();
        }
        assert_eq!(files[0].read_exact_at(&mut [0], 0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
