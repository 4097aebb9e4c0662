//! Rows of a wider matrix, without copying: z, xBC and dt all live in the rows of in_proj's output.
use std::ops::Range;

/// `width` values of every row of `data [m, stride]`, from column `start`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    start: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    /// The whole of `data [m, width]`.
    pub fn new(data: &'a [f32], width: usize) -> Rows<'a> {
        Rows::part(data, width, 0, width)
    }

    /// Columns `start .. start + width` of `data [m, stride]`. Panics (a caller's bug) unless they lie inside a row.
    pub fn part(data: &'a [f32], stride: usize, start: usize, width: usize) -> Rows<'a> {
        assert!(stride > 0 && start + width <= stride && data.len().is_multiple_of(stride));
        Rows { data, stride, start, width }
    }

    /// Columns `start .. start + width` of this view.
    pub fn columns(self, start: usize, width: usize) -> Rows<'a> {
        assert!(start + width <= self.width);
        Rows { start: self.start + start, width, ..self }
    }

    /// Rows `range` of this view.
    pub fn rows(self, range: Range<usize>) -> Rows<'a> {
        Rows { data: &self.data[range.start * self.stride..range.end * self.stride], ..self }
    }

    pub fn len(&self) -> usize {
        self.data.len() / self.stride
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn width(&self) -> usize {
        self.width
    }

    #[inline]
    pub fn row(&self, i: usize) -> &'a [f32] {
        let at = i * self.stride + self.start;
        &self.data[at..at + self.width]
    }
}
