/*-------------------------------------------------------------------------
 *
 * params.c
 *		Bind parameters from a call's VARIADIC "any" arguments, or rows.
 *
 * What a call site's parameters are does not change from call to call, so it
 * is looked up once and kept in the call site's fn_extra.  A call written with
 * the keyword VARIADIC passes one array whose elements are the parameters;
 * there only the element type is fixed.
 *
 * A domain of this database means nothing elsewhere: a parameter of such a type
 * is one of the type that the domain is over, for every target.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value/value_private.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

static void
learn_type(SmParams *params, int i, Oid type, MemoryContext cxt)
{
	Oid			function;
	bool		is_varlena;

	type = sm_base_type(type, &params->elements[i]);
	params->types[i] = type;
	params->forms[i] = sm_type_form(type);
	if (type == UNKNOWNOID)
		return;
	getTypeOutputInfo(type, &function, &is_varlena);
	fmgr_info_cxt(function, &params->outputs[i], cxt);
	if (params->forms[i] != SM_FORM_TEXT)
	{
		getTypeBinaryOutputInfo(type, &function, &is_varlena);
		fmgr_info_cxt(function, &params->sends[i], cxt);
	}
	if (sm_type_names_objects(type))
		params->names_objects = true;
	if (sm_type_has_money(type))
		params->has_money = true;
}

static SmParams *
make_params(int n, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	SmParams   *params = palloc0(sizeof(SmParams));

	params->n = n;
	params->types = palloc0(Max(n, 1) * sizeof(Oid));
	params->elements = palloc0(Max(n, 1) * sizeof(Oid));
	params->values = palloc0(Max(n, 1) * sizeof(Datum));
	params->nulls = palloc0(Max(n, 1) * sizeof(bool));
	params->outputs = palloc0(Max(n, 1) * sizeof(FmgrInfo));
	params->sends = palloc0(Max(n, 1) * sizeof(FmgrInfo));
	params->forms = palloc0(Max(n, 1) * sizeof(SmForm));
	MemoryContextSwitchTo(old);
	return params;
}

/* Parameters of these types, whose values the caller puts in. */
SmParams *
sm_params_of_types(int n, const Oid *types)
{
	SmParams   *params = make_params(n, CurrentMemoryContext);

	for (int i = 0; i < n; i++)
		learn_type(params, i, types[i], CurrentMemoryContext);
	return params;
}

/*
 * A parameter's value, which must not be null, as one of the type that is said
 * to be its own.
 */
Datum
sm_params_value(const SmParams *params, int i)
{
	ArrayType  *array;

	if (likely(!OidIsValid(params->elements[i])))
		return params->values[i];
	array = DatumGetArrayTypePCopy(params->values[i]);
	ARR_ELEMTYPE(array) = params->elements[i];
	return PointerGetDatum(array);
}

/* Parameters that the columns of a row are to be the values of. */
SmParams *
sm_params_from_desc(TupleDesc desc)
{
	SmParams   *params = make_params(desc->natts, CurrentMemoryContext);

	for (int i = 0; i < params->n; i++)
		learn_type(params, i, TupleDescAttr(desc, i)->atttypid, CurrentMemoryContext);
	return params;
}

/* A copy of parameters and their values, which may be NULL for none. */
SmParams *
sm_params_copy(const SmParams *params)
{
	SmParams   *copy;

	if (params == NULL)
		return NULL;
	copy = sm_params_of_types(params->n, params->types);
	for (int i = 0; i < copy->n; i++)
	{
		Datum		value = params->values[i];
		int16		typlen;
		bool		typbyval;

		copy->elements[i] = params->elements[i];
		copy->nulls[i] = params->nulls[i];
		if (copy->nulls[i])
			continue;
		if (copy->types[i] == UNKNOWNOID)
			copy->values[i] = CStringGetDatum(pstrdup(DatumGetCString(value)));
		else
		{
			get_typlenbyval(copy->types[i], &typlen, &typbyval);
			/* not by reference to a table, either */
			copy->values[i] = typlen == -1 ?
				PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
				datumCopy(value, typbyval, typlen);
		}
	}
	return copy;
}

/* One argument for each parameter. */
static SmParams *
params_from_args(FunctionCallInfo fcinfo, int first, SmParams **kept)
{
	SmParams   *params = *kept;

	if (params == NULL)
	{
		MemoryContext cxt = fcinfo->flinfo->fn_mcxt;

		params = make_params(PG_NARGS() - first, cxt);
		for (int i = 0; i < params->n; i++)
		{
			Oid			type = get_fn_expr_argtype(fcinfo->flinfo, first + i);

			if (!OidIsValid(type))
				ereport(ERROR,
						(errcode(ERRCODE_INDETERMINATE_DATATYPE),
						 errmsg("could not determine the type of parameter %d", i + 1)));
			learn_type(params, i, type, cxt);
		}
		*kept = params;
	}

	for (int i = 0; i < params->n; i++)
	{
		params->nulls[i] = PG_ARGISNULL(first + i);
		params->values[i] = PG_GETARG_DATUM(first + i);
	}
	return params;
}

/* VARIADIC array: its elements are the parameters; a NULL array has none. */
static SmParams *
params_from_array(FunctionCallInfo fcinfo, int first)
{
	SmParams   *params;
	ArrayType  *array;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(first))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(first);
	type = ARR_ELEMTYPE(array);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign, &values, &nulls, &n);
	if (n == 0)
		return NULL;

	params = make_params(n, CurrentMemoryContext);
	params->values = values;
	params->nulls = nulls;
	learn_type(params, 0, type, CurrentMemoryContext);
	for (int i = 1; i < n; i++)
	{
		params->types[i] = params->types[0];
		params->elements[i] = params->elements[0];
		params->outputs[i] = params->outputs[0];
		params->sends[i] = params->sends[0];
		params->forms[i] = params->forms[0];
	}
	return params;
}

/*
 * The parameters of the call in fcinfo, which begin at argument "first"; NULL
 * if there are none.  *kept is the call site's memory of them, NULL at first.
 * The result is good until the next call from the same site.
 */
SmParams *
sm_params_from_call(FunctionCallInfo fcinfo, int first, SmParams **kept)
{
	if (PG_NARGS() <= first)
		return NULL;
	if (get_fn_expr_variadic(fcinfo->flinfo))
		return params_from_array(fcinfo, first);
	return params_from_args(fcinfo, first, kept);
}
