-- Every doubt about the stored bars, as the last checks of them found it; the page weighs it against universe and trades.
CREATE TABLE bar_doubts (
    kind VARCHAR NOT NULL, symbol VARCHAR NOT NULL, session DATE, until DATE,
    seen VARCHAR NOT NULL, effect VARCHAR NOT NULL, mend VARCHAR NOT NULL, rank INTEGER NOT NULL, size DOUBLE NOT NULL
);
