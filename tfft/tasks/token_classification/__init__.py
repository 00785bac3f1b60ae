"""Token classification: named entities, parts of speech, semantic roles, slots."""
