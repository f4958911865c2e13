//! Rows of a table by number, and their gradient.

use rayon::prelude::*;

use crate::parallel::{for_each_chunk, rows_per_chunk};
use crate::simd::{kernel, simd};

/// `out(ids, width)` = the rows of `table(entries, width)` that `ids` name.
///
/// # Panics
///
/// A slice has not the length its shape says, or an id is not a row of the table.
pub fn gather_rows(table: &[f32], width: usize, ids: &[u32], out: &mut [f32]) {
    check(table, width, ids, out);
    if width == 0 {
        return;
    }
    let rows = rows_per_chunk(width);
    for_each_chunk(out, rows * width, |start, out| {
        for (row, id) in out.chunks_exact_mut(width).zip(&ids[start / width..]) {
            let from = *id as usize * width;
            row.copy_from_slice(&table[from..from + width]);
        }
    });
}

kernel! {
    /// Adds those rows of `dy` that `positions` name, in this order.
    fn add_named_rows<L>(lanes, dy: &[f32], positions: &[(u32, usize)], total: &mut [f32]) {
        let width = total.len();
        for (_, position) in positions {
            let row = &dy[position * width..][..width];
            for start in (0..width).step_by(L::WIDTH) {
                let sum = lanes.add(lanes.load(&total[start..]), lanes.load(&row[start..]));
                lanes.store(sum, &mut total[start..]);
            }
        }
    }
}

/// Adds row `i` of `dy(ids, width)` to row `ids[i]` of `dtable(entries, width)`, in the order of `i`.
///
/// # Panics
///
/// A slice has not the length its shape says, or an id is not a row of the table.
pub fn scatter_add_rows(dy: &[f32], width: usize, ids: &[u32], dtable: &mut [f32]) {
    check(dtable, width, ids, dy);
    if width == 0 || ids.is_empty() {
        return;
    }
    // Sorted by id and then by position, the rows of one table entry are together, still in their order, and entries can
    // be served in parallel.
    let mut order: Vec<(u32, usize)> = ids.iter().enumerate().map(|(position, id)| (*id, position)).collect();
    order.sort_unstable();
    let mut entries = Vec::new();
    let mut rest = dtable;
    let mut next = 0;
    for positions in order.chunk_by(|a, b| a.0 == b.0) {
        let id = positions[0].0 as usize;
        let (entry, tail) = std::mem::take(&mut rest)[(id - next) * width..].split_at_mut(width);
        entries.push((entry, positions));
        rest = tail;
        next = id + 1;
    }
    let simd = simd();
    let work = |(entry, positions): &mut (&mut [f32], &[(u32, usize)])| add_named_rows(simd, dy, positions, entry);
    let at_once = rows_per_chunk(width);
    if ids.len() <= at_once {
        entries.iter_mut().for_each(work);
    } else {
        entries.par_iter_mut().for_each(work);
    }
}

fn check(table: &[f32], width: usize, ids: &[u32], rows: &[f32]) {
    assert!(rows.len() == ids.len() * width, "rows must be (ids, width): {} is not {} x {width}", rows.len(), ids.len());
    let entries = if width == 0 {
        usize::MAX
    } else {
        assert!(table.len().is_multiple_of(width), "the table must be (entries, width): {} by {width}", table.len());
        table.len() / width
    };
    if let Some(id) = ids.iter().find(|id| **id as usize >= entries) {
        panic!("id {id} is not one of the {entries} rows of the table");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{same_on_any_pool, values};

    #[test]
    fn rows_are_gathered_by_id() {
        let mut out = [0.0; 6];
        gather_rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, &[2, 0, 2], &mut out);
        assert_eq!(out, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn gradients_of_a_repeated_id_are_added_to_what_is_there() {
        let mut dtable = [100.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        scatter_add_rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, &[2, 0, 2], &mut dtable);
        assert_eq!(dtable, [103.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
    }

    #[test]
    fn scattering_adds_in_the_order_of_the_rows() {
        for width in [1, 5, 33] {
            let ids: Vec<u32> = (0..3000u32).map(|i| i.wrapping_mul(2_654_435_769) % 17 * 3 + 1).collect();
            let dy = values(ids.len() * width, 1);
            let mut expected = values(60 * width, 2);
            let mut dtable = expected.clone();
            for (row, id) in dy.chunks_exact(width).zip(&ids) {
                for (column, value) in row.iter().enumerate() {
                    expected[*id as usize * width + column] += value;
                }
            }
            scatter_add_rows(&dy, width, &ids, &mut dtable);
            assert_eq!(dtable, expected);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let ids: Vec<u32> = (0..2000u32).map(|i| i.wrapping_mul(2_654_435_769) % 50).collect();
        let (dy, table) = (values(2000 * 64, 1), values(50 * 64, 2));
        same_on_any_pool(|| {
            let mut out = vec![0.0; dy.len()];
            let mut dtable = table.clone();
            gather_rows(&table, 64, &ids, &mut out);
            scatter_add_rows(&dy, 64, &ids, &mut dtable);
            [out, dtable].concat()
        });
    }

    #[test]
    fn no_ids_change_nothing() {
        gather_rows(&[1.0], 1, &[], &mut []);
        gather_rows(&[], 0, &[3], &mut []);
        scatter_add_rows(&[], 0, &[3], &mut []);
        let mut dtable = [1.0, 2.0];
        scatter_add_rows(&[], 2, &[], &mut dtable);
        assert_eq!(dtable, [1.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "id 3 is not one of the 3 rows")]
    fn an_id_beyond_the_table_is_refused() {
        gather_rows(&[1.0, 2.0, 3.0], 1, &[0, 3], &mut [0.0; 2]);
    }
}
