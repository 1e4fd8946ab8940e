import ts from "typescript";
import { type ColumnDocument, type Declaration, ModelError, registry } from "../registry.js";
import { Columns } from "./columns.js";
import { isOwn, type Program } from "./program.js";

/** Classes whose constructor takes a declaration, with the number of its own arguments. */
const classes: Record<string, number> = { OlapTable: 2, MaterializedView: 1, View: 4, IngestPipeline: 2 };

/** A `new OlapTable<T>(…)` or the like in a model's source. */
export interface Found {
  declaration: Declaration;
  /** Where the declaration goes among the arguments. */
  argument: number;
}

/** Finds the declarations in a file and reads their types. Keyed by their position in the file. */
export function findDeclarations(program: Program, source: ts.SourceFile): Map<number, Found> {
  const found = new Map<number, Found>();
  const visit = (node: ts.Node): void => {
    if (ts.isNewExpression(node) || ts.isCallExpression(node)) {
      const name = className(program, node);
      if (name) found.set(node.getStart(source), read(program, node, name));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Which of our classes the expression makes: `new OlapTable…` or `OlapTable.withX…(`. */
function className(program: Program, node: ts.NewExpression | ts.CallExpression): string | undefined {
  let callee: ts.Expression = node.expression;
  if (ts.isCallExpression(node)) {
    if (!ts.isPropertyAccessExpression(callee) || !callee.name.text.startsWith("with")) return undefined;
    callee = callee.expression;
  }
  let symbol = program.checker.getSymbolAtLocation(callee);
  if (symbol && symbol.flags & ts.SymbolFlags.Alias) symbol = program.checker.getAliasedSymbol(symbol);
  const declaredIn = symbol?.declarations?.[0]?.getSourceFile();
  return symbol && declaredIn && isOwn(declaredIn) && symbol.name in classes ? symbol.name : undefined;
}

function read(program: Program, node: ts.NewExpression | ts.CallExpression, name: string): Found {
  const location = { ...program.location(node), declaration: declaredName(node) };
  const argument = classes[name] ?? 0;
  const typeNode = node.typeArguments?.[0];
  if (name === "View") return { declaration: { location }, argument };
  if (!typeNode) {
    if (name === "MaterializedView") return { declaration: { location }, argument };
    throw new ModelError(
      `${name} has no row type`,
      location,
      `write new ${name}<Row>(…), where Row is the interface of a row`,
    );
  }
  const columns = (): ColumnDocument[] => new Columns(program, location).of(rowType(program, typeNode, location.declaration));
  if (name !== "IngestPipeline") return { declaration: { location, columns: columns() }, argument };
  try {
    return { declaration: { location, columns: columns() }, argument };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { declaration: { location, unreadable: error }, argument };
  }
}

/** The type of a row. A type that the other module does not export is found there all the same. */
function rowType(program: Program, node: ts.TypeNode, declaration: string | undefined): ts.Type {
  const { checker } = program;
  const type = checker.getTypeFromTypeNode(node);
  if (!(type.flags & ts.TypeFlags.Any)) return type;
  const location = { ...program.location(node), declaration };
  const name = node.getText();
  if (ts.isTypeReferenceNode(node) && ts.isIdentifier(node.typeName)) {
    const imported = checker.getSymbolAtLocation(node.typeName)?.declarations?.find(ts.isImportSpecifier);
    if (imported) {
      const original = (imported.propertyName ?? imported.name).text;
      const from = imported.parent.parent.parent.moduleSpecifier as ts.StringLiteral;
      const resolved = program.resolve(from.text, node.getSourceFile().fileName);
      const module = resolved && program.program.getSourceFile(resolved.resolvedFileName);
      const local = module?.statements.find(
        (statement) =>
          (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement) || ts.isClassDeclaration(statement)) &&
          statement.name?.text === original,
      ) as ts.InterfaceDeclaration | ts.TypeAliasDeclaration | undefined;
      const symbol = local && checker.getSymbolAtLocation(local.name);
      if (module && symbol) {
        registry().warnings.push({
          message: `${original} is imported from ${from.text}, which does not export it`,
          hint: `write \`export\` before it in ${program.relative(module.fileName)}`,
          location: program.location(imported),
        });
        return checker.getDeclaredTypeOfSymbol(symbol);
      }
    }
  }
  throw new ModelError(`cannot find the type ${name}`, location, "import or declare it");
}

/** The variable that holds the declaration. */
function declaredName(node: ts.Node): string | undefined {
  const parent = node.parent;
  if (ts.isVariableDeclaration(parent) && ts.isIdentifier(parent.name)) return parent.name.text;
  if (ts.isExportAssignment(parent)) return "default";
  return undefined;
}
