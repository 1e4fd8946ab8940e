import { readFileSync } from "node:fs";
import Module from "node:module";
import { basename, extname } from "node:path";
import ts from "typescript";
import { holder } from "../registry.js";
import type { Found } from "./declarations.js";
import { isMoose, isTypia, type Program, sdkName } from "./program.js";

interface NodeModule {
  filename: string;
  _compile(code: string, file: string): void;
}

interface Transpiled {
  code: string;
  map: string;
}

interface Internals {
  _extensions: Record<string, (module: NodeModule, file: string) => void>;
  _resolveFilename(name: string, parent: NodeModule | undefined, isMain: boolean, options?: unknown): string;
}

/**
 * Runs TypeScript in this process: imports are resolved as the compiler resolves them, sources are
 * transpiled without moving a line, and the declarations get what was read from their types.
 */
export class Modules {
  private readonly declarations: Found["declaration"][] = [];
  private emitter: ts.Program | undefined;

  constructor(
    private readonly program: Program,
    private readonly found: Map<string, Map<number, Found>>,
  ) {
    (globalThis as Record<string, unknown>)[holder] = this.declarations;
    this.install();
  }

  run(file: string): void {
    require(file);
  }

  private install(): void {
    const internals = Module as unknown as Internals;
    const resolve = internals._resolveFilename.bind(internals);
    internals._resolveFilename = (name, parent, isMain, options) => {
      if (isMoose(name)) return require.resolve("../moose");
      if (name === sdkName) return require.resolve("../index");
      const from = parent?.filename;
      if (from && isSource(from)) {
        const found = this.program.resolve(name, from)?.resolvedFileName;
        if (found && isSource(found)) return found;
        if (isTypia(name)) return require.resolve("../moose/typia");
      }
      return resolve(name, parent, isMain, options);
    };
    for (const extension of [".ts", ".tsx", ".mts", ".cts"]) {
      internals._extensions[extension] = (module, file) => module._compile(this.transpile(file), file);
    }
  }

  private transpile(file: string): string {
    const before = [this.inject(this.found.get(file) ?? new Map<number, Found>())];
    const emitted = /\.tsx?$/.test(file) ? this.emit(file, before) : undefined;
    const { code, map } = emitted ?? transpileAlone(file, before);
    const withName = { ...(JSON.parse(map) as Record<string, unknown>), sources: [basename(file)] };
    const encoded = Buffer.from(JSON.stringify(withName)).toString("base64");
    return code.replace(/\/\/# sourceMappingURL=.*$/, `//# sourceMappingURL=data:application/json;base64,${encoded}`);
  }

  /** By the one compiler of all sources: to start one for each file takes longer than all the rest. */
  private emit(file: string, before: ts.TransformerFactory<ts.SourceFile>[]): Transpiled | undefined {
    this.emitter ??= this.program.emitter({ ...transpileOptions, isolatedModules: true, noCheck: true });
    const source = this.emitter.getSourceFile(file);
    if (!source) return undefined;
    const parts = new Map<string, string>();
    this.emitter.emit(source, (name, text) => parts.set(extname(name), text), undefined, false, { before });
    const [code, map] = [parts.get(".js"), parts.get(".map")];
    return code === undefined || map === undefined ? undefined : { code, map };
  }

  /** Gives each declaration its location and columns as one more argument. */
  private inject(found: Map<number, Found>): ts.TransformerFactory<ts.SourceFile> {
    return (context) => (source) => {
      const { factory } = context;
      const visit = (node: ts.Node): ts.Node => {
        if (ts.isMetaProperty(node) && node.keywordToken === ts.SyntaxKind.ImportKeyword) return importMeta(factory);
        const visited = ts.visitEachChild(node, visit, context);
        const at = ts.isNewExpression(node) || ts.isCallExpression(node) ? found.get(node.getStart(source)) : undefined;
        if (!at || !(ts.isNewExpression(visited) || ts.isCallExpression(visited))) return visited;
        const index = this.declarations.push(at.declaration) - 1;
        const args = [...(visited.arguments ?? [])];
        while (args.length < at.argument) args.push(factory.createVoidZero());
        args[at.argument] = factory.createElementAccessExpression(
          factory.createPropertyAccessExpression(factory.createIdentifier("globalThis"), holder),
          index,
        );
        return ts.isNewExpression(visited)
          ? factory.updateNewExpression(visited, visited.expression, visited.typeArguments, args)
          : factory.updateCallExpression(visited, visited.expression, visited.typeArguments, args);
      };
      return ts.visitNode(source, visit) as ts.SourceFile;
    };
  }
}

const transpileOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.CommonJS,
  esModuleInterop: true,
  experimentalDecorators: true,
  jsx: ts.JsxEmit.React,
  sourceMap: true,
};

/** A file that only the run has found, or one that by its own name (`.mts`) would become an ES module. */
function transpileAlone(file: string, before: ts.TransformerFactory<ts.SourceFile>[]): Transpiled {
  const { outputText, sourceMapText } = ts.transpileModule(readFileSync(file, "utf8"), {
    fileName: file.replace(/\.[mc]ts$/, ".ts"),
    compilerOptions: transpileOptions,
    transformers: { before },
  });
  return { code: outputText, map: sourceMapText ?? "{}" };
}

/** `import.meta` of a module that runs as CommonJS. */
function importMeta(factory: ts.NodeFactory): ts.Expression {
  const name = (text: string): ts.Identifier => factory.createIdentifier(text);
  const call = (callee: ts.Expression, ...args: ts.Expression[]): ts.Expression => factory.createCallExpression(callee, undefined, args);
  const url = factory.createPropertyAccessExpression(call(name("require"), factory.createStringLiteral("node:url")), "pathToFileURL");
  return factory.createParenthesizedExpression(
    factory.createObjectLiteralExpression([
      factory.createPropertyAssignment("url", factory.createPropertyAccessExpression(call(url, name("__filename")), "href")),
      factory.createPropertyAssignment("filename", name("__filename")),
      factory.createPropertyAssignment("dirname", name("__dirname")),
    ]),
  );
}

/** TypeScript that runs, other than declarations of what runs elsewhere. */
function isSource(file: string): boolean {
  return /\.[cm]?tsx?$/.test(file) && !/\.d\.[cm]?ts$/.test(file);
}
