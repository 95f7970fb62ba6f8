-- The indicators that a strategy declares beside the four that are always there, as read: name → value.
ALTER TABLE signals ADD COLUMN "values" JSON;
