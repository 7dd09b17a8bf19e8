"""Pages about commands and options, written from the parser and the configuration themselves."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXIT_CODES = """## Exit codes

| code | meaning |
|---|---|
| 0 | The command did what it was asked to do. |
| 1 | `aeseg check` found errors, units of `aeseg experiment run` failed, or `experiment repeat` differs. |
| 2 | Bad input, an unknown option, or Ctrl-C. One sentence on stderr says which. |

"""


def cell(text):
    "Text in a cell of a table."
    return " ".join(str(text).split()).replace("|", "\\|")


def argument_row(names, keywords):
    "The row of one argument."
    metavar = keywords.get("metavar") or (
        "{" + ",".join(map(str, keywords["choices"])) + "}" if keywords.get("choices") else ""
    )
    is_flag = keywords.get("action") == "store_true"
    word = names[-1] if names[-1].startswith("-") else names[-1].upper()
    value = "" if is_flag else metavar or (word.lstrip("-").upper() if word.startswith("-") else "")
    needed = " (required)" if keywords.get("required") else ""
    return (
        f"| `{', '.join(names)}{' ' + value if value else ''}`{needed} |"
        f" {cell(keywords['help'].replace('%%', '%'))} |"
    )


def commands_text():
    "The page about commands."
    from aeseg.cli import COMMANDS, list_arguments

    lines = ["# Commands", "", "`aeseg COMMAND --help` prints the same text.", ""]
    for command in COMMANDS.values():
        lines += [f"## aeseg {command.name}", "", command.summary[0].upper() + command.summary[1:] + ".", ""]
        lines += ["```sh", command.example, "```", "", "| argument | meaning |", "|---|---|"]
        lines += [argument_row(names, keywords) for names, keywords in list_arguments(command)]
        lines.append("")
    return "\n".join(lines) + "\n" + EXIT_CODES


def options_text():
    "The page about the options of the configuration."
    from aeseg.core.config import OPTIONS, PRESETS

    lines = ["# Options of the configuration", ""]
    lines += [
        (
            "`-p key=value` of `aeseg fit` sets any of these; Python has them in groups: `config.gan.steps`"
            " is the key `gan_steps`. The defaults are those of the preset `cpu`; the last column says where"
            " other presets differ."
        ),
        "",
    ]
    group = None
    for key, o in OPTIONS.items():
        if o.group != group:
            group = o.group
            lines += [
                "",
                f"## {group}",
                "",
                "| key | default | meaning | other presets |",
                "|---|---|---|---|",
            ]
        others = [
            f"{name}: {values[key]}"
            for name, values in PRESETS.items()
            if values.get(key, o.default) != o.default
        ]
        choices = o.meta["choices"]
        about = o.meta["help"] + (f" ({', '.join(map(str, choices))})" if choices else "")
        lines.append(f"| `{key}` | `{o.default}` | {cell(about)} | {cell(', '.join(others))} |")
    return "\n".join(lines) + "\n"


def write_pages(stage):
    stage.write("guide/commands.md", commands_text())
    stage.write("guide/options.md", options_text())
