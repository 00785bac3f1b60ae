"""Texts that break careless code: what a server must answer as the trained model does, whatever the task."""

NASTY: list[str | bytes] = [
    "", " ", "\n\t \r", "plain words", "two\nlines\ttab", "long " * 20_000, "x" * 100_000, "\u4e2d" * 100_000,
    "emoji \U0001f600 and \U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e6\U0001f1f9 \u2764\ufe0f",
    "caf\u00e9", "cafe\u0301", "\ufb01ne \u212b \uff21\uff22", "zalgo" + "\u0301" * 500, "\u0130\u0131\u1e9e\u00df", "0" * 300,
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", "\u202eright to left\u202c", "\u4e2d\u6587\u5b57",
    "control \x00\x01\x1f\x7f characters", "\ufeff\u200b\u2028\u0085", "\ufffd\uffff",
    "[CLS] [SEP] <s> </s> [MASK] [PAD] [UNK]", "a[SEP]b", "##s ##ing",
    b"\xff\xfe bad bytes \xc3", b"\xed\xa0\x80 \xf4\x90\x80\x80 half a pair", b"cut in the middle of \xe4\xb8",
]
