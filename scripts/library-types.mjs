// The public types of the library as one text: every export of `src/index.ts` with all it refers to, and no package.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { API, NodeBuilderFlags, SymbolFlags } from 'typescript/unstable/sync';

const EXPANDED = NodeBuilderFlags.NoTruncation | NodeBuilderFlags.InTypeAlias;
/** What a declaration must not mention: packages, and what only they have. */
const FOREIGN = /\bz\.|Zod|\bimport\(|\btypeof\b|\bDatabase\./;

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = join(
  dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
  'bin',
  'tsc',
);
const CHECKED = {
  compilerOptions: {
    ...{ strict: true, noEmit: true, skipLibCheck: true, allowImportingTsExtensions: true },
    ...{ target: 'es2024', module: 'nodenext', types: ['node'] },
  },
  files: ['index.d.ts'],
};

/**
 * @returns {{ name: string, kind: string, doc: string, text: string, isExported: boolean }[]} exports first, in the
 *   order of `src/index.ts`
 */
export function libraryTypes() {
  const folder = mkdtempSync(join(tmpdir(), 'reprise-types-'));
  const api = new API();
  try {
    const built = [
      '--project',
      join(root, 'tsconfig.build.json'),
      '--outDir',
      folder,
      '--emitDeclarationOnly',
    ];
    const { status, error } = spawnSync(process.execPath, [compiler, ...built], {
      cwd: root,
      stdio: 'inherit',
    });
    if (error ?? status !== 0) throw error ?? new Error('the declarations of src were not written');
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    const config = join(folder, 'tsconfig.json');
    writeFileSync(config, JSON.stringify(CHECKED));
    const [project] = api.updateSnapshot({ openProject: config }).getProjects();
    return new Library(project, join(folder, 'index.d.ts')).declarations();
  } finally {
    api.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One file of declarations. */
export function typesText(declarations) {
  const texts = declarations.map(({ doc, text, isExported }) => {
    const shown = isExported
      ? text.replace(/^(?=declare function )|^(?!declare function )(?<![\s\S])/gm, 'export ')
      : text;
    return doc === '' ? shown : `${doc}\n${shown}`;
  });
  return `${texts.join('\n\n')}\n\nexport {};\n`;
}

class Library {
  #checker;
  #program;
  #index;

  constructor({ checker, program }, index) {
    this.#checker = checker;
    this.#program = program;
    this.#index = program.getSourceFile(index);
  }

  declarations() {
    const exported = this.#checker.getExportsOfModule(this.#checker.getSymbolAtLocation(this.#index));
    const found = new Map(
      exported.map((symbol) => [symbol.name, this.#declarationOf(symbol.name, this.#target(symbol), true)]),
    );
    const open = [...found.values()];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const [name, symbol] of this.#referredBy(next)) {
        const known = found.get(name);
        if (known !== undefined && known.id !== symbol.id)
          throw new Error(`${next.name} needs another ${name} than the one of the library`);
        if (known !== undefined) continue;
        const declared = this.#declarationOf(name, symbol, false);
        found.set(name, declared);
        open.push(declared);
      }
    }
    for (const { name, text } of found.values())
      if (FOREIGN.test(bare(text)))
        throw new Error(`the type of ${name} names a package:\n${text.slice(0, 600)}`);
    return [...found.values()];
  }

  #target(symbol) {
    return (symbol.flags & SymbolFlags.Alias) === 0 ? symbol : this.#checker.getAliasedSymbol(symbol);
  }

  #declarationOf(name, symbol, isExported) {
    const nodes = symbol.declarations.map((handle) => handle.resolve());
    const { id } = symbol;
    const sources = nodes.map((node) => node.getText().replace(/^export /, ''));
    const doc = nodes.map(commentOf).find((each) => each !== '') ?? '';
    const facts = { id, name, doc, isExported, within: nodes[0].getSourceFile() };
    if ((symbol.flags & SymbolFlags.Variable) !== 0) {
      const type = this.#checker.typeToString(this.#checker.getTypeOfSymbol(symbol), undefined, EXPANDED);
      return { ...facts, kind: 'const', text: `declare const ${name}: ${type};` };
    }
    const kind = /^(?:declare )?(interface|type|class|function)/.exec(sources[0])?.[1] ?? 'type';
    const isPlain = kind === 'type' && !new RegExp(`^type ${symbol.name}<`).test(sources[0]);
    if (!isPlain) return { ...facts, kind, text: sources.join('\n').replace(symbol.name, name) };
    const type = this.#checker.getDeclaredTypeOfSymbol(symbol);
    return {
      ...facts,
      kind,
      text: `type ${name} = ${this.#checker.typeToString(type, undefined, EXPANDED)};`,
    };
  }

  /** A type that an expanded type names, wherever it is declared. */
  #declaredAs(name) {
    const declares = new RegExp(`^(?:export )?(?:declare )?(?:interface|type|class) ${name}\\b`, 'm');
    for (const file of this.#program.getSourceFileNames()) {
      if (file.includes('node_modules') || file.startsWith('bundled:')) continue;
      const source = this.#program.getSourceFile(file);
      if (declares.test(source.text)) return this.#checker.resolveName(name, SymbolFlags.Type, source);
    }
    return undefined;
  }

  /** The types that a declaration names and that are declared here, and not by TypeScript or Node. */
  *#referredBy({ name: own, text, within }) {
    for (const name of new Set(bare(text).match(/\b[A-Z]\w*\b/g) ?? [])) {
      if (name === own) continue;
      const found = this.#checker.resolveName(name, SymbolFlags.Type, within) ?? this.#declaredAs(name);
      if (found === undefined) continue;
      const symbol = this.#target(found);
      const isOurs = symbol.declarations.every(
        ({ path }) => !path.includes('/node_modules/') && !path.startsWith('bundled:'),
      );
      if (isOurs && (symbol.flags & SymbolFlags.TypeParameter) === 0) yield [name, symbol];
    }
  }
}

/** The comment before a declaration. */
function commentOf(node) {
  const { text } = node.getSourceFile();
  const before = text.slice(node.pos, node.end - node.getText().length);
  return /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*$/.exec(before)?.[0].trim() ?? '';
}

/** A declaration without comments and texts. */
function bare(text) {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '""');
}
