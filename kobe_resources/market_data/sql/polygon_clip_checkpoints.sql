-- Coverage that begins before anything the vendor gave: it is none.
UPDATE bar_checkpoints SET span_from = $first
WHERE vendor = $vendor AND kind = 'symbol' AND span_from < $first AND span_to >= $first;
