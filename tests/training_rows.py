from gemma_finetune.training.data_pipeline import PackedRows, Rows


def every_row(packed: PackedRows) -> Rows:
    return packed.make(range(len(packed)))
