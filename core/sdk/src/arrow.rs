//! Tables as record batches of arrow-rs and back, without copying cells.

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::{Array, RecordBatch, StructArray};
use lmprobe_abi as abi;

use crate::boundary::{arrow_export, arrow_import};
use crate::{Error, Result, Table};

// Both crates write down the structs of the same specification.
const _: () = assert!(size_of::<FFI_ArrowArray>() == size_of::<abi::ArrowArray>() && size_of::<FFI_ArrowSchema>() == size_of::<abi::ArrowSchema>());

impl TryFrom<Table> for RecordBatch {
    type Error = Error;

    fn try_from(table: Table) -> Result<Self> {
        let abi::lmprobe_table { mut schema, mut array } = arrow_export::give(table)?;
        // SAFETY: both structs are alive, have the layout of the specification, and are moved out: `from_raw` leaves nothing to release behind.
        let data = unsafe {
            let array = FFI_ArrowArray::from_raw((&raw mut array).cast());
            let schema = FFI_ArrowSchema::from_raw((&raw mut schema).cast());
            from_ffi(array, &schema)
        };
        Ok(Self::from(StructArray::from(data.map_err(|error| Error::internal(error.to_string()))?)))
    }
}

impl TryFrom<RecordBatch> for Table {
    type Error = Error;

    /// Fails if a column has a type that is no part of the plugin interface.
    fn try_from(batch: RecordBatch) -> Result<Self> {
        let data = StructArray::from(batch).to_data();
        let schema = FFI_ArrowSchema::try_from(data.data_type()).map_err(|error| Error::input(error.to_string()))?;
        let array = FFI_ArrowArray::new(&data);
        // SAFETY: both structs have the layout of the specification, and `take` becomes their only owner.
        unsafe {
            let mut table = abi::lmprobe_table {
                schema: std::mem::transmute::<FFI_ArrowSchema, abi::ArrowSchema>(schema),
                array: std::mem::transmute::<FFI_ArrowArray, abi::ArrowArray>(array),
            };
            arrow_import::take(&raw mut table)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;

    #[test]
    fn a_table_and_a_record_batch_hold_the_same() {
        let table = Table::new()
            .with("text", Column::optional_texts([Some("gout"), None]))
            .and_then(|table| table.with("texts", Column::text_lists([vec!["a", "b"], vec![]])))
            .and_then(|table| table.with("flag", Column::flags([true, false])));
        let batch = RecordBatch::try_from(table.unwrap()).unwrap();
        assert_eq!((batch.num_rows(), batch.column(0).null_count()), (2, 1));
        let sliced = Table::try_from(batch.slice(1, 1)).unwrap();
        assert_eq!((sliced.texts("text").unwrap().optional(0), sliced.flags("flag").unwrap().get(0)), (None, Some(false)));
        let table = Table::try_from(batch).unwrap();
        assert_eq!(table.texts("text").unwrap().optional(0), Some("gout"));
        assert_eq!(table.text_lists("texts").unwrap().get(0).iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
