import { describe, expect, it } from 'vitest';
import { shownUrl, withShownUrls } from '../../src/core/text.ts';

describe('shownUrl', () => {
  it.each([
    ['http://model:8000/base', 'http://model:8000/base'],
    ['http://u:s3cret@model:8000', 'http://***@model:8000'],
    ['s3cret@model:8000', '***@model:8000'],
    // What nobody percent-encoded ends an authority, and is a part of the password all the same.
    ['http://u:s3/c?r#e@t@model', 'http://***@model'],
    ['https:/u:s3cret@model', '***@model'],
    ['http://model?key=s3cret&trace', 'http://model?key=***&***'],
    ['http://model/?a=s3cret;b=s3cret#s3cret', 'http://model/?a=***;b=***#***'],
    ['http://model/?s3cret', 'http://model/?***'],
    ['unix:/run/a@b.sock', 'unix:/run/a@b.sock'],
    ['', ''],
  ])('%s is shown as %s', (text, shown) => {
    expect(shownUrl(text)).toBe(shown);
  });

  it('takes time linear in any text', () => {
    const text = `http://${'@?&='.repeat(100_000)}`;
    expect(shownUrl(text).length).toBeLessThan(text.length);
  });
});

describe('withShownUrls', () => {
  it('covers the URLs of a text and leaves the rest', () => {
    expect(withShownUrls("too many: 'http://u:s3cret@a/?k=s3cret', https://b.c/d, a@b")).toBe(
      "too many: 'http://***@a/?k=***', https://b.c/d, a@b",
    );
  });

  it.each([
    [`curl "https://u:s3'cret@store/x" -d a@b`, 'curl "https://***@store/x" -d a@b'],
    [`"http://u:s3'c/r@et@a","http://b/?k=s3cret"`, `"http://***@a","http://b/?k=***"`],
  ])('covers a password that holds a quote: %s', (text, shown) => {
    expect(withShownUrls(text)).toBe(shown);
  });

  it('takes time linear in any text', () => {
    const text = `${'a://"'.repeat(100_000)}${'/"'.repeat(100_000)}`;
    expect(withShownUrls(text)).toBe(text);
  });
});
