/** One import, export-from or `import()` of a source file. */
export interface ImportOf {
  readonly specifier: string;
  readonly line: number;
}

export interface ScannedSource {
  /** The text with comments and contents of literals replaced by blanks. Line numbers stay the same. */
  readonly code: string;
  readonly imports: readonly ImportOf[];
}

/** Code after which a slash starts a regular expression, not a division. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|void|throw|new|delete))\s*$/;

/**
 * Separates code from comments and literals, so that rules about code do not match prose. It is a small scanner, not a
 * parser: enough for formatted TypeScript without JSX.
 */
export function scanSource(text: string): ScannedSource {
  let code = '';
  const imports: ImportOf[] = [];
  const templateDepths: number[] = [];
  let depth = 0;
  let at = 0;
  const blank = (end: number): void => {
    code += text.slice(at, end).replace(/[^\n]/g, ' ');
    at = end;
  };
  while (at < text.length) {
    const character = text[at] ?? '';
    const pair = text.slice(at, at + 2);
    if (pair === '//') blank(endAt(text, '\n', at));
    else if (pair === '/*') blank(endAfter(text, '*/', at + 2));
    else if (character === "'" || character === '"') {
      const end = endOfQuoted(text, at, character);
      if (isImport(code)) imports.push({ specifier: text.slice(at + 1, end - 1), line: lineOf(code) });
      code += character;
      at += 1;
      blank(end - 1);
      code += character;
      at = end;
    } else if (character === '`' || (character === '}' && templateDepths.at(-1) === depth)) {
      if (character === '}') templateDepths.pop();
      const end = endOfTemplateText(text, at + 1);
      if (text[end - 1] === '{') templateDepths.push(depth);
      blank(end);
    } else if (character === '/' && BEFORE_REGEX.test(code.slice(-24))) {
      blank(endOfRegex(text, at));
    } else {
      if (character === '{') depth += 1;
      if (character === '}') depth -= 1;
      code += character;
      at += 1;
    }
  }
  return { code, imports };
}

function isImport(codeBefore: string): boolean {
  return /(?:\bfrom|\bimport|\bimport\s*\()\s*$/.test(codeBefore.slice(-24));
}

function lineOf(codeBefore: string): number {
  return codeBefore.split('\n').length;
}

function endAt(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found;
}

function endAfter(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found + mark.length;
}

function endOfQuoted(text: string, start: number, quote: string): number {
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === quote) return at + 1;
  }
  return text.length;
}

/** The end of a template's text: after its closing back-tick, or after the brace that opens an expression. */
function endOfTemplateText(text: string, start: number): number {
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '`') return at + 1;
    else if (text[at] === '$' && text[at + 1] === '{') return at + 2;
  }
  return text.length;
}

function endOfRegex(text: string, start: number): number {
  let inClass = false;
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '[') inClass = true;
    else if (text[at] === ']') inClass = false;
    else if (text[at] === '/' && !inClass) return at + 1;
    else if (text[at] === '\n') return at;
  }
  return text.length;
}
