"""From raw documents to rows of token ids: manifest, cleaning, dedupe, token shards, packing."""
