"""Pieces of HTML that several sections of a report share."""

from __future__ import annotations


def section(title: str, lead: str, body: str) -> str:
    """A titled part of the page; title, lead and body are HTML."""
    opening = f'<p class="lead">{lead}</p>' if lead else ""
    return f"<section><h2>{title}</h2>{opening}{body}</section>"
