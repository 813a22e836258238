"""The saved views of a log's page: what a search is saved as, and the list of those there are."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlencode

from projections.queries.listing import EQUALITY_COLUMNS
from projections.queries.saved_views import SavedView, ViewOwner, list_views
from projections.web.pages.auth import PageCaller
from projections.web.pages.url import PageUrl
from projections.web.problems import ProblemError
from schemas.events import Channel
from schemas.words import Words

#: Of an owner, in one log of a tenant.
MAX_VIEWS: Final = 50
#: In characters; the query as a URL has it.
MAX_NAME_LENGTH: Final = 80
MAX_QUERY_LENGTH: Final = 4000
#: What a search is: no tenant, which is the owner's, and nothing of one answer.
_PARAMETERS: Final = frozenset(
    {"q", "filter", "sort", "order", "as_of", "clock", "columns", *EQUALITY_COLUMNS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuView:
    """A saved view in the list of a page: its URL, and whether it is what the page shows."""

    name: str
    url: PageUrl
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedView:
    """The name that was typed for a view, and why it was not saved."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewMenu:
    """The views of a page; `views` is None if the database does not tell."""

    views: list[MenuView] | None
    refused: RefusedView | None = None
    max_name_length: int = MAX_NAME_LENGTH

    @property
    def current_names(self) -> list[str]:
        """The names of the views that the page shows: of several with one search, all."""
        return [view.name for view in self.views or () if view.is_current]


def view_menu(
    caller: PageCaller, channel: Channel, url: PageUrl, refused: RefusedView | None = None
) -> ViewMenu | None:
    """Return the views of a log for a page's URL; None in a frame, which has none."""
    if caller.frame:
        return None
    try:
        views = _stored_views(caller, channel)
    except ProblemError:  # the page is worth more than its menu
        return ViewMenu(views=None, refused=refused)
    present = sorted(_search_pairs(url))
    own = tuple((name, str(value)) for name, value in caller.own_parameters())
    path = caller.place(f"/logs/{channel}")
    listed = [
        MenuView(
            name=view.name, url=PageUrl(path, (*own, *pairs)), is_current=sorted(pairs) == present
        )
        for view in views
        for pairs in [parse_qsl(view.query)]
    ]  # fmt: skip
    return ViewMenu(views=listed, refused=refused)


def save_view(caller: PageCaller, channel: Channel, url: PageUrl, name: str) -> None:
    """Save the search of a URL under a name; it replaces an earlier view of the name.

    Raises 422 problems for no name and what is too long or too much, 503 if it cannot be stored.
    """
    view = SavedView(name=_one_line(name), query=urlencode(_search_pairs(url)))
    names = {each.name for each in _stored_views(caller, channel)}
    if wrong := _wrong(view, names):
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, wrong)
    caller.state.store_view(_owner(caller, channel), view)


def delete_view(caller: PageCaller, channel: Channel, name: str) -> None:
    """Delete the view of a name, if there is one. Raises a 503 problem if that cannot be stored."""
    if name in {each.name for each in _stored_views(caller, channel)}:
        caller.state.store_view(_owner(caller, channel), SavedView(name=name, is_deleted=True))


def _wrong(view: SavedView, names: set[str]) -> str:
    """Return why a view cannot be saved beside those of some names; "" if it can."""
    if not view.name:
        return Words("a view needs a name")
    if len(view.name) > MAX_NAME_LENGTH:
        return Words("the name of a view has at most %(count)d characters", count=MAX_NAME_LENGTH)
    if len(view.query) > MAX_QUERY_LENGTH:
        return Words(
            "this search is too long to be saved: over %(count)d characters",
            count=MAX_QUERY_LENGTH,
        )
    if view.name not in names and len(names) >= MAX_VIEWS:
        return Words("there are %(count)d views already; delete one first", count=MAX_VIEWS)
    return ""


def _owner(caller: PageCaller, channel: Channel) -> ViewOwner:
    return ViewOwner(tenant_id=caller.tenant, owner=caller.principal.id, channel=channel)


def _stored_views(caller: PageCaller, channel: Channel) -> list[SavedView]:
    database = caller.state.database
    with database.client() as client:
        return list_views(client, database.name, _owner(caller, channel))


def _search_pairs(url: PageUrl) -> list[tuple[str, str]]:
    """Return the parameters of a URL that make a search."""
    return [pair for pair in url.pairs if pair[0] in _PARAMETERS]


def _one_line(text: str) -> str:
    """Return a text in one line, without characters that cannot be seen."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
