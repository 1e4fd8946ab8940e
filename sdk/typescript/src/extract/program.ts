import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, relative, sep } from "node:path";
import ts from "typescript";
import { type Location, ModelError } from "../registry.js";

/** The name of this package. */
export const sdkName = "teal-sdk";

/** The package that existing projects import, with what lies within it. */
export const isMoose = (name: string): boolean => isWithin(name, "@514labs/moose-lib");

/** typia: existing projects take the tags of types from it. */
export const isTypia = (name: string): boolean => isWithin(name, "typia");

function isWithin(name: string, packageName: string): boolean {
  return name === packageName || name.startsWith(`${packageName}/`);
}

const ignored = new Set(["node_modules", "dist"]);

/**
 * The model files below a folder, in a stable order. A project with an index is written to be loaded
 * from there: its modules may import each other through it, which works in its order only.
 */
export function modelFiles(folder: string): string[] {
  const real = realpathSync(folder);
  const files = [...new Set(filesBelow(real, new Set()))];
  const isIndex = (file: string): boolean => dirname(file) === real && /^index\.[cm]?tsx?$/.test(basename(file));
  return [...files.filter(isIndex), ...files.filter((file) => !isIndex(file))];
}

/** Each by the place that links lead to, as Node.js has it too. */
function filesBelow(folder: string, seen: Set<string>): string[] {
  if (seen.has(folder)) return [];
  seen.add(folder);
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      if (name.startsWith(".") || ignored.has(name)) return [];
      const link = join(folder, name);
      // One that leads nowhere is told of when it is read.
      const path = existsSync(link) ? realpathSync(link) : link;
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return filesBelow(path, seen);
      const isModel = /\.[cm]?tsx?$/.test(name) && !/\.d\.[cm]?ts$|\.(test|spec)\.tsx?$/.test(name);
      return isModel ? [path] : [];
    });
}

/** The TypeScript program of a project's models, with the project's own compiler options. */
export class Program {
  readonly program: ts.Program;
  readonly checker: ts.TypeChecker;
  readonly options: ts.CompilerOptions;
  private readonly cache: ts.ModuleResolutionCache;
  private readonly host: ts.CompilerHost;

  constructor(
    readonly project: string,
    readonly files: string[],
  ) {
    this.options = { ...userOptions(project), ...ours };
    this.host = ts.createCompilerHost(this.options);
    this.cache = ts.createModuleResolutionCache(project, (name) => name, this.options);
    this.host.resolveModuleNameLiterals = (literals, from) =>
      literals.map(({ text }) => ({ resolvedModule: this.resolve(text, from) }));
    this.program = this.create(files);
    this.checker = this.program.getTypeChecker();
  }

  /** Packages build types on more of the library than models do, which takes a while to read. */
  private create(files: string[]): ts.Program {
    const program = ts.createProgram(files, this.options, this.host);
    const usesPackages = program
      .getSourceFiles()
      .some((source) => source.fileName.includes("/node_modules/") && !program.isSourceFileDefaultLibrary(source) && !isOwn(source));
    if (!usesPackages) return program;
    this.options.lib = ["lib.es2023.d.ts"];
    return ts.createProgram(files, this.options, this.host, program);
  }

  /** Resolves an import as the compiler does, `paths` included. */
  resolve(name: string, from: string): ts.ResolvedModuleFull | undefined {
    if (name === sdkName) return ownModule("index");
    if (isMoose(name)) return ownModule("moose/surface");
    const resolved = ts.resolveModuleName(name, from, this.options, this.host, this.cache).resolvedModule;
    // The tags of typia are types only, so the package need not be installed.
    return resolved ?? (isTypia(name) ? ownModule("index") : undefined);
  }

  /** A compiler that emits the sources, each as if it were alone; they are not read anew. */
  emitter(options: ts.CompilerOptions): ts.Program {
    const sources = this.program.getSourceFiles().filter((source) => !source.isDeclarationFile);
    const host = { ...this.host, getSourceFile: (name: string) => this.program.getSourceFile(name) };
    const alone = { noLib: true, noResolve: true, types: [], moduleDetection: ours.moduleDetection };
    return ts.createProgram(sources.map((source) => source.fileName), { ...options, ...alone }, host);
  }

  location(node: ts.Node): Location {
    const file = node.getSourceFile();
    const at = file.getLineAndCharacterOfPosition(node.getStart());
    return { file: this.relative(file.fileName), line: at.line + 1, column: at.character + 1 };
  }

  relative(file: string): string {
    return relative(this.project, file).split(sep).join("/");
  }

  /** The models' files, and those of the project's that they import, as parsed; throws the first syntax error. */
  sources(): ts.SourceFile[] {
    const sources = this.program.getSourceFiles();
    const models = sources.filter((source) => !source.isDeclarationFile && !source.fileName.includes("/node_modules/"));
    return models.map((source) => {
      const file = source.fileName;
      const [error] = this.program.getSyntacticDiagnostics(source);
      if (error) {
        const at = source.getLineAndCharacterOfPosition(error.start);
        throw new ModelError(`syntax error: ${ts.flattenDiagnosticMessageText(error.messageText, " ")}`, {
          file: this.relative(file),
          line: at.line + 1,
          column: at.character + 1,
        });
      }
      return source;
    });
  }
}

/** Options that reading models needs, whatever the project says. */
const ours: ts.CompilerOptions = {
  noEmit: true,
  skipLibCheck: true,
  strict: true,
  // Nothing but the models and what they import: no `@types` of the project, one small library.
  types: [],
  lib: ["lib.es5.d.ts"],
  noLib: false,
  allowJs: false,
  moduleDetection: ts.ModuleDetectionKind.Force,
};

const ownFolder = join(__dirname, "..").split(sep).join("/");

/** A module of this package. */
function ownModule(name: string): ts.ResolvedModuleFull {
  return { resolvedFileName: `${ownFolder}/${name}.d.ts`, extension: ts.Extension.Dts, isExternalLibraryImport: true };
}

/** Whether a file is of this package, which may itself lie in a `node_modules`. */
export function isOwn(source: ts.SourceFile): boolean {
  return source.fileName.startsWith(`${ownFolder}/`);
}

/** What of the project's tsconfig.json concerns how imports are resolved. */
function userOptions(project: string): ts.CompilerOptions {
  const base: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    jsx: ts.JsxEmit.Preserve,
  };
  const path = findUpwards(project, "tsconfig.json");
  if (!path) return base;
  const read = ts.readConfigFile(path, (file) => readFileSync(file, "utf8"));
  if (read.error) {
    throw new ModelError(ts.flattenDiagnosticMessageText(read.error.messageText, " "), { file: path, line: 1 });
  }
  const parsed = ts.parseJsonConfigFileContent(read.config, { ...ts.sys, readDirectory: () => [] }, dirname(path));
  const { baseUrl, paths, pathsBasePath, rootDirs, customConditions } = parsed.options;
  const chosen = { baseUrl, paths, pathsBasePath, rootDirs, customConditions };
  return { ...base, ...Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== undefined)) };
}

function findUpwards(from: string, name: string): string | undefined {
  const path = join(from, name);
  if (existsSync(path)) return path;
  const parent = dirname(from);
  return parent === from ? undefined : findUpwards(parent, name);
}
