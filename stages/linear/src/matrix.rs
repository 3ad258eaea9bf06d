//! The matrices of a model: rows of floats, or rows in the codes of a product quantizer. Nothing here knows text.

use crate::math::{add, dot};

/// Number of centroids of each part of a row.
pub(crate) const CENTROIDS: usize = 256;

/// Rows of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Matrix {
    /// As they are.
    Dense(Dense),
    /// Quantized ("Product quantization for nearest neighbor search", Jégou et al. 2011).
    Quantized(Quantized),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dense {
    /// Numbers of a row.
    pub(crate) columns: usize,
    /// Row after row.
    pub(crate) values: Vec<f32>,
}

impl Dense {
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.columns..][..self.columns]
    }
}

/// Rows in codes: each part of a row is the nearest of 256 centroids.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantized {
    pub(crate) rows: usize,
    pub(crate) quantizer: Quantizer,
    /// [rows, parts].
    pub(crate) codes: Vec<u8>,
    /// The norm of each row, if it was quantized separately.
    pub(crate) norms: Option<(Quantizer, Vec<u8>)>,
}

/// Centroids of the parts of a row. All parts have the same width but the last, which has the rest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantizer {
    pub(crate) columns: usize,
    pub(crate) width: usize,
    pub(crate) width_last: usize,
    /// [parts, 256, width].
    pub(crate) centroids: Vec<f32>,
}

impl Quantizer {
    pub(crate) fn parts(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let width = if part + 1 == self.parts() { self.width_last } else { self.width };
        &self.centroids[part * CENTROIDS * self.width + usize::from(code) * width..][..width]
    }
}

impl Quantized {
    fn codes(&self, row: usize) -> &[u8] {
        let parts = self.quantizer.parts();
        &self.codes[row * parts..][..parts]
    }

    fn norm(&self, row: usize) -> f32 {
        self.norms.as_ref().map_or(1.0, |(quantizer, codes)| quantizer.centroid(0, codes[row])[0])
    }
}

impl Matrix {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.values.len() / dense.columns,
            Self::Quantized(quantized) => quantized.rows,
        }
    }

    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.columns,
            Self::Quantized(quantized) => quantized.quantizer.columns,
        }
    }

    /// Adds a row to a sum of rows.
    pub(crate) fn add_to(&self, row: usize, sum: &mut [f32]) {
        match self {
            Self::Dense(dense) => add(sum, dense.row(row), 1.0),
            Self::Quantized(quantized) => {
                let norm = quantized.norm(row);
                let parts = sum.chunks_mut(quantized.quantizer.width);
                for (part, (sum, code)) in parts.zip(quantized.codes(row)).enumerate() {
                    add(sum, quantized.quantizer.centroid(part, *code), norm);
                }
            }
        }
    }

    /// The scalar product of a row and a vector.
    pub(crate) fn dot(&self, row: usize, vector: &[f32]) -> f32 {
        match self {
            Self::Dense(dense) => dot(dense.row(row), vector),
            Self::Quantized(quantized) => {
                let parts = vector.chunks(quantized.quantizer.width).zip(quantized.codes(row)).enumerate();
                let products = parts
                    .map(|(part, (vector, code))| dot(vector, quantized.quantizer.centroid(part, *code)));
                products.sum::<f32>() * quantized.norm(row)
            }
        }
    }
}
